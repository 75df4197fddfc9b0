"""Many walkers over one and more workers, also while workers are killed: `roam bench cluster`."""
