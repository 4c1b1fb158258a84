"""One thread for every test: with two, small products spend their time at barriers as soon as anything else runs."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
