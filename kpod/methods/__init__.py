"""Training of a student by a method: the objective of Eq. 15, and those of the methods it is compared with.

A method with its own loss has settings in `kpod.config.methods` and an objective in a file here. Imports training.
"""

from kpod.config import Distill
from kpod.methods.acl import Adaptive
from kpod.methods.base import Objective, Step, StudentData
from kpod.methods.icl import InSample
from kpod.methods.mcckd import Consistency
from kpod.methods.scott import Counterfactual
from kpod.methods.specialized import Formats
from kpod.methods.spl import SelfPaced

__all__ = ["OBJECTIVES", "Objective", "Step", "StudentData", "objective_of"]

OBJECTIVES: dict[str, type[Objective]] = {
    "eq15": Objective,
    "icl": InSample,
    "acl": Adaptive,
    "spl": SelfPaced,
    "mcc-kd": Consistency,
    "scott": Counterfactual,
    "specialized": Formats,
}


def objective_of(config: Distill) -> type[Objective]:
    """The class of the objective `config.objective`."""
    return OBJECTIVES[config.objective.kind]
