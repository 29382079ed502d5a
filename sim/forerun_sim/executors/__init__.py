"""Where independent pieces of work run: in this process, in processes of this machine, on a Ray cluster.

The results are the same, and in the same order, whatever the executor; each is handed out once, also where workers die.
"""

from forerun_sim.executors.base import Begin, Executor, Here
from forerun_sim.executors.processes import Processes

__all__ = ["Begin", "Executor", "Here", "Processes"]
