"""`roam tune reward`: learning from measurements of a model's own dreams and answers.

system.py     named parts with weights: what a group is worth
policy.py     the losses: group-relative advantages, clipped ratios, the leash to the start's weights
spots.py      places on true walks where a dream is asked for
dreams.py     groups of dreams, decided as they are served, and how likely their codes were
run.py        the run from folder to folder, of models that dream
report.py     the results on held-out scenes
answers.py    the same over tokens, for official models, with scorers of the user's own
"""
