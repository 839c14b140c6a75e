"""Features: from the records that stand on a date to a vector of whole numbers.

One file for each source declares its features; ``declaration.py`` says what a declaration
is and ``query.py`` turns declarations into queries.
"""

from collections import Counter

from egretscore.errors import PolicyError
from egretscore.features.civic_points import civic_point_features
from egretscore.features.commitments import commitment_features
from egretscore.features.declaration import Aggregate, Feature, Prior
from egretscore.features.directions import promised_direction
from egretscore.features.limits import problems_of
from egretscore.features.penalties import penalty_features
from egretscore.policy import Policy

__all__ = ["Aggregate", "Feature", "Prior", "declare_features", "problems_of", "promised_direction"]


def declare_features(policy: Policy) -> tuple[Feature, ...]:
    """Declare all features under a policy, in the order of the vector.

    Raises
    ------
    PolicyError
        If two declarations get one name or one code, because of an id in the policy.
    """
    features = (*civic_point_features(policy), *penalty_features(policy), *commitment_features(policy))
    for what in ("name", "code"):
        for word, times in Counter(getattr(feature, what) for feature in features).items():
            if times > 1:
                raise PolicyError(
                    f"an activity or a group of the policy gives two features the {what} {word!r}",
                    remedy="Rename it.",
                )
    return features
