"""What all tests share: nothing that is tested is timed, for the machine may be busy."""

from hypothesis import settings

settings.register_profile("roam", deadline=None)
settings.load_profile("roam")
