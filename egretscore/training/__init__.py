"""Training: from records to a model, and from any table to a classifier that is a sum of score tables.

``train.py`` takes snapshots of records (``snapshots.py``) and makes a model of them;
``estimator.py`` lets ``boosting.py`` grow forests whose paths stay within the pairs of features
that ``pairs.py`` deals out, from where ``start.py`` lets them start, on the numbers that
``columns.py`` makes of a table; ``forest.py`` compiles them to score tables.
"""
