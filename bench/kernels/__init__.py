"""Each kernel against what torch offers for the same work: `python -m roam.bench.kernels`."""
