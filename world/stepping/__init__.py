"""How a step of one or many sessions is decoded."""
