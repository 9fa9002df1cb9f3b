"""The training objectives: Eq. 15, and those of the methods that KPOD is compared with, one file each."""

from kpod.config import Distill
from kpod.distill.objectives.acl import Adaptive
from kpod.distill.objectives.base import Objective, Step, Told
from kpod.distill.objectives.icl import InSample
from kpod.distill.objectives.mcckd import Consistency
from kpod.distill.objectives.scott import Counterfactual
from kpod.distill.objectives.specialized import Formats
from kpod.distill.objectives.spl import SelfPaced

__all__ = ["Objective", "Step", "Told", "objective_of"]

_KINDS: dict[str, type[Objective]] = {
    "eq15": Objective,
    "icl": InSample,
    "acl": Adaptive,
    "spl": SelfPaced,
    "mcc-kd": Consistency,
    "scott": Counterfactual,
    "specialized": Formats,
}


def objective_of(config: Distill) -> type[Objective]:
    """The class behind `config.objective`."""
    return _KINDS[config.objective.kind]
