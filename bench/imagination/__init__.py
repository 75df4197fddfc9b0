"""Imagination: what a walker sees where nothing was seen, compared with the distribution of true views.

recogniser.py, recipe.py   a small network that knows sky, ground, structure and things, trained on true training views
measures.py                pure functions over arrays of frames: class shares, KID, AUC, sharpness, seam, fit, ...
walks.py, rows.py          the walks, and who answers on them: the truth, the model, and the rows that must lose
rewards.py                 the measures as rewards of single pictures, for `roam tune reward`; a recogniser of its own
quick.py                   `roam bench imagine`; T11 of the consistency benchmark asks the same of longer walks
"""
