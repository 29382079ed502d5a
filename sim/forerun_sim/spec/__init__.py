"""robot.yaml as data: what a robot is, what it may do, how it is simulated and what its tasks are.

Every error names the file, the key and what is allowed. ``load_robot`` is the only door.
"""

from forerun_sim.spec.base import Distribution, Finite, Interval, NonNegative, PerName, Positive, Strict
from forerun_sim.spec.camera import Camera
from forerun_sim.spec.curriculum import Curriculum, Range
from forerun_sim.spec.hardware import Actuators, Disturbances, Sensors
from forerun_sim.spec.load import load_robot, load_yaml, validate
from forerun_sim.spec.parts import Control, Joint, Safety, Topics
from forerun_sim.spec.randomization import Randomization
from forerun_sim.spec.robot import RobotSpec
from forerun_sim.spec.scene import Ground, SceneObject
from forerun_sim.spec.task import Bound, Feature, Goal, Task, Term, parse_feature

__all__ = [
    "Actuators",
    "Bound",
    "Camera",
    "Control",
    "Curriculum",
    "Distribution",
    "Disturbances",
    "Feature",
    "Finite",
    "Goal",
    "Ground",
    "Interval",
    "Joint",
    "NonNegative",
    "PerName",
    "Positive",
    "Randomization",
    "Range",
    "RobotSpec",
    "Safety",
    "SceneObject",
    "Sensors",
    "Strict",
    "Task",
    "Term",
    "Topics",
    "load_robot",
    "load_yaml",
    "parse_feature",
    "validate",
]
