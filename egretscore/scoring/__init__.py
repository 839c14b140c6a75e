"""Scoring: from vectors to points.

The score is the sum of the tables of ``tables.py``, which ``adder.py`` adds up fast; ``points.py``
and ``scorecard.py`` put them into whole points; ``bundle.py`` keeps the model and
``publication.py`` prints it. To score and explain it needs numpy alone: what trains stands in ``egretscore.training``.
"""
