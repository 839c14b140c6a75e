"""Scoring: from vectors to points.

``training.py`` makes a model from records; ``estimator.py`` grows a forest in which every
tree lives in one pair of features; ``forest.py`` compiles it to the tables of ``tables.py``;
``points.py`` and ``scorecard.py`` put them into whole points; ``bundle.py`` keeps the model.
"""
