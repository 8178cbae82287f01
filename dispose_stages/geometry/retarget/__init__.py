"""Driver's joint angles and timing on the reference's limb lengths (``align: proportions``)."""
