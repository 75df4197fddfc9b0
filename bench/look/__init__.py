"""How fast a dream is looked at from any pose: `roam bench look`."""
