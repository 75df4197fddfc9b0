"""The consistency benchmark: does a model of a world still show the same world when one comes back?

questions/   the walks: held-out scenes by seed, commanded poses, which surfaces had been seen
models/      the models: adapters for any model, the rows that every table has, our own model, videos made elsewhere
metrics/     how an answer is measured; definitions.py lists every number, its unit and worst value
report/      from lines to pages: intervals, tables, pictures, comparisons, the leaderboard, the check of a run
run.py, ask.py, results.py, commands.py     a run, one question, the files of a run, the command line
"""

VERSION = 5  # of tasks and metrics together: numbers of different versions cannot be compared
