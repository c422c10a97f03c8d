"""What fedmq costs, beside the least that it could and beside its peers: `make bench`.

Each module with a `main` is one benchmark. What is measured runs with one BLAS thread, which has to
be said before numpy is imported, and so here.
"""

import os

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
