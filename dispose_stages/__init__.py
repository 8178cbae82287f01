"""DisPose human image animation as a staged, resumable batch pipeline.

The data flow reads from the folder names:
``manifest → pose → motion, correspondence → sample → mux → report``.
"""

__version__ = "0.1.0"
