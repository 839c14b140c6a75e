"""Training: from records to a model, and from any table to a classifier that is a sum of score tables.

- ``train.py`` makes a model from snapshots of records (``snapshots.py``).
- ``estimator.py`` is the classifier: ``columns.py`` turns a table into numbers, ``pairs.py`` chooses
  the pairs of features, ``start.py`` makes the first trees, ``boosting.py`` grows the forests, and
  ``forest.py`` compiles them to score tables.
"""
