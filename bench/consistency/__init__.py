"""The consistency benchmark: does a model of a world still show the same world when one comes back?

episode.py, tasks.py      what is walked: held-out scenes by seed, commanded poses, what was seen
adapters.py, baselines.py, embedded.py, gym.py, videos.py    who is asked
fidelity.py ... score.py, unseen.py   how an answer is measured; metrics.py lists every number, its unit and worst value
run.py, verify.py, report.py, compare.py, leaderboard.py     the commands; stats.py the intervals
"""

VERSION = 4  # of tasks and metrics together: numbers of different versions are not compared
