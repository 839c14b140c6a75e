"""Scoring: from vectors to points.

``training.py`` makes a model from records; ``estimator.py`` lets ``boosting.py`` grow forests
whose paths stay within pairs of features, on the numbers that ``columns.py`` makes of a table;
``forest.py`` compiles them to the tables of ``tables.py``, which ``adding.py`` adds up fast;
``points.py`` and ``scorecard.py`` put them into whole points; ``bundle.py`` keeps the model.
"""
