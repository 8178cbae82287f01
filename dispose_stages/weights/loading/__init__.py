"""Networks from their published checkpoints, one module per publisher.

Loading is strict: every expected tensor has to be there with its shape, anything unexpected is
named, and all problems of a file come in one error. A loader opens the path that it is given;
`dispose_stages.weights.verification.find_file` says which that is.
"""
