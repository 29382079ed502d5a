"""What the robot may do: the bundle's limits, tightened by parameters, never loosened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import CAUSES, Manifest
from forerun_sim.errors import InputError

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class SafetySettings:
    """The parameters ``safety.*``. Empty or 0 keeps what the bundle says; anything looser than the bundle is refused.

    Attributes:
        scale: (0, 1], scales velocity and slew limits, and the command limits of effort and velocity joints.
        stale_after: oldest state that is used [s].
        max_misses: ticks in a row without a plan before the stop latches.
        max_disagreement: a plan with more disagreement than this is not executed, whatever the bundle's own threshold is; it
            holds for every bundle that follows.
        max_disagreeing: plans in a row with too much disagreement before the robot stops.
        recover_after: good ticks in a row that end a stop which may end by itself; more is tighter.
        on_stale, on_misses, on_disagreement: ``latch`` makes such a stop last until a reset; empty keeps the bundle's choice.
        command_lower, command_upper, slew: per action [A], command units (slew: per second).
        position_lower, position_upper, velocity: per joint [J].
    """

    scale: float = 1.0
    stale_after: float = 0.0
    max_misses: int = 0
    max_disagreement: float = 0.0
    max_disagreeing: int = 0
    recover_after: int = 0
    on_stale: str = ""
    on_misses: str = ""
    on_disagreement: str = ""
    command_lower: tuple[float, ...] = ()
    command_upper: tuple[float, ...] = ()
    slew: tuple[float, ...] = ()
    position_lower: tuple[float, ...] = ()
    position_upper: tuple[float, ...] = ()
    velocity: tuple[float, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Everything that a command and a state are held against, SI units, joint order of the bundle.

    Attributes:
        period: time from one command to the next [s].
        ticks_per_period: commands in one control period of the model.
        watched: [J] joints whose position and velocity limits are watched: all that no position servo holds.
        velocity: [J] velocity that ends in the safe action, the bundle's margin included (inf where none).
        deceleration: [J] what the joint can brake with at least (nan: unknown, no braking distance).
        slew: [A] largest change of the command per second (inf where none).
        acting: [A] index of the joint that each action drives.
        damp_gain: [A] effort per velocity of the safe action ``damp``.
        max_disagreement: what the bundle itself allows (inf: anything); its models' own yardstick.
        disagreement_bound: what the parameters allow (inf: anything).
        latching: the causes (``stale``, ``misses``, ``disagreement``) whose stop lasts until a reset.
    """

    joints: tuple[str, ...]
    actions: tuple[str, ...]
    interfaces: tuple[str, ...]
    period: float
    ticks_per_period: int
    watched: NDArray[np.bool_]
    position_lower: Vector
    position_upper: Vector
    velocity: Vector
    deceleration: Vector
    command_lower: Vector
    command_upper: Vector
    slew: Vector
    acting: NDArray[np.intp]
    safe_action: str
    damp_gain: Vector
    stale_after: float
    max_misses: int
    max_disagreeing: int
    recover_after: int
    latching: frozenset[str]
    max_disagreement: float = math.inf
    disagreement_bound: float = math.inf

    @classmethod
    def of(cls, manifest: Manifest) -> Limits:
        """The limits that a bundle carries."""
        servoed = {name for name, kind in zip(manifest.actions, manifest.interfaces, strict=True) if kind == "position"}
        return cls(
            joints=manifest.joints,
            actions=manifest.actions,
            interfaces=manifest.interfaces,
            period=manifest.tick_period,
            ticks_per_period=manifest.commands_per_step,
            watched=np.array([name not in servoed for name in manifest.joints]),
            position_lower=manifest.position_lower,
            position_upper=manifest.position_upper,
            velocity=manifest.velocity_limit * manifest.velocity_margin,
            deceleration=manifest.deceleration,
            command_lower=manifest.command_lower,
            command_upper=manifest.command_upper,
            slew=manifest.slew,
            acting=np.array([manifest.joints.index(name) for name in manifest.actions], dtype=np.intp),
            safe_action=manifest.safe_action,
            damp_gain=manifest.damp_gain,
            stale_after=manifest.stale_after,
            max_misses=manifest.max_misses,
            max_disagreeing=manifest.max_disagreeing,
            recover_after=manifest.recover_after,
            latching=frozenset(cause for cause in CAUSES if manifest.recovery[cause] == "latch"),
            max_disagreement=_threshold(manifest),
        )

    @property
    def position_commanded(self) -> NDArray[np.bool_]:
        """[A] actions that are positions."""
        return np.array([kind == "position" for kind in self.interfaces])

    @property
    def allowed_disagreement(self) -> float:
        """Plans with more are not executed (inf: all are)."""
        return min(self.max_disagreement, self.disagreement_bound)

    def step(self, elapsed: float) -> Vector:
        """[A] largest change from one command to the next, ``elapsed`` seconds later; a period at most counts."""
        # Of no time at all a picosecond is left: without a slew limit the step is infinite, too.
        return self.slew * (max(elapsed, 1e-12) if elapsed < self.period else self.period)

    def tightened(self, settings: SafetySettings) -> Limits:
        """These limits with ``settings`` applied.

        Raises:
            InputError: a setting is looser than these limits, has the wrong number of entries, or leaves no room; the
                message names the parameter and the joint.
        """
        if not 0 < settings.scale <= 1:
            raise InputError(f"safety.scale is {settings.scale:g}; allowed is above 0 and at most 1")
        lower = _narrower("safety.command_lower", settings.command_lower, self.command_lower, self.actions, upper=False)
        upper = _narrower("safety.command_upper", settings.command_upper, self.command_upper, self.actions, upper=True)
        scale = np.where(self.position_commanded, 1.0, settings.scale)
        lower, upper = lower * scale, upper * scale
        low = _narrower("safety.position_lower", settings.position_lower, self.position_lower, self.joints, upper=False)
        high = _narrower("safety.position_upper", settings.position_upper, self.position_upper, self.joints, upper=True)
        # A position command beyond the joint's tightened limits would drive the joint there.
        held = self.position_commanded
        lower[held] = np.maximum(lower[held], low[self.acting[held]])
        upper[held] = np.minimum(upper[held], high[self.acting[held]])
        _refuse_empty("safety.command_lower and safety.command_upper", lower, upper, self.actions)
        _refuse_empty("safety.position_lower and safety.position_upper", low, high, self.joints)
        slew = _narrower("safety.slew", settings.slew, self.slew, self.actions, upper=True)
        velocity = _narrower("safety.velocity", settings.velocity, self.velocity, self.joints, upper=True)
        for name, values in (("safety.slew", slew), ("safety.velocity", velocity)):
            if not (values > 0).all():
                raise InputError(f"{name}: every entry must be above 0")
        return replace(
            self,
            command_lower=lower,
            command_upper=upper,
            slew=slew * settings.scale,
            position_lower=low,
            position_upper=high,
            velocity=velocity * settings.scale,
            stale_after=_smaller("safety.stale_after", settings.stale_after, self.stale_after),
            max_misses=int(_smaller("safety.max_misses", settings.max_misses, self.max_misses)),
            max_disagreeing=int(_smaller("safety.max_disagreeing", settings.max_disagreeing, self.max_disagreeing)),
            recover_after=_larger("safety.recover_after", settings.recover_after, self.recover_after),
            latching=self.latching | _latching(settings, self.latching),
            disagreement_bound=settings.max_disagreement or self.disagreement_bound,
        )

    def within(self, outer: Limits) -> Limits:
        """These limits cut to ``outer``: a bundle that arrives while the robot runs may not loosen anything.

        Raises:
            InputError: nothing is left.
        """
        lower, upper = np.maximum(self.command_lower, outer.command_lower), np.minimum(self.command_upper, outer.command_upper)
        low, high = np.maximum(self.position_lower, outer.position_lower), np.minimum(self.position_upper, outer.position_upper)
        _refuse_empty("command limits", lower, upper, self.actions)
        _refuse_empty("position limits", low, high, self.joints)
        return replace(
            self,
            command_lower=lower,
            command_upper=upper,
            slew=np.minimum(self.slew, outer.slew),
            position_lower=low,
            position_upper=high,
            velocity=np.minimum(self.velocity, outer.velocity),
            deceleration=np.fmin(self.deceleration, outer.deceleration),
            # What stops the robot is what the operator saw when it was started.
            safe_action=outer.safe_action,
            damp_gain=outer.damp_gain,
            stale_after=min(self.stale_after, outer.stale_after),
            max_misses=min(self.max_misses, outer.max_misses),
            max_disagreeing=min(self.max_disagreeing, outer.max_disagreeing),
            recover_after=max(self.recover_after, outer.recover_after),
            latching=self.latching | outer.latching,
            # Each bundle's threshold is of its own model; only one without any takes the one that held before.
            max_disagreement=self.max_disagreement if math.isfinite(self.max_disagreement) else outer.max_disagreement,
            disagreement_bound=outer.disagreement_bound,
        )


def _narrower(name: str, wanted: Sequence[float], allowed: Vector, labels: Sequence[str], *, upper: bool) -> Vector:
    if len(wanted) == 0:
        return allowed.copy()
    if len(wanted) != len(allowed):
        raise InputError(f"{name} has {len(wanted)} entries; it needs one for each of: {', '.join(labels)}")
    values = np.asarray(wanted, dtype=np.float64)
    if np.isnan(values).any():
        raise InputError(f"{name} holds nan")
    looser = values > allowed if upper else values < allowed
    if looser.any():
        i = int(np.argmax(looser))
        raise InputError(
            f"{name} is {values[i]:g} for {labels[i]}; the bundle says {allowed[i]:g}, and parameters may only tighten it"
        )
    return values


def _smaller(name: str, wanted: float, allowed: float) -> float:
    if wanted == 0:
        return allowed
    if not 0 < wanted <= allowed:
        raise InputError(f"{name} is {wanted:g}; the bundle says {allowed:g}, and parameters may only tighten it (0 keeps it)")
    return wanted


def _larger(name: str, wanted: int, allowed: int) -> int:
    if wanted == 0:
        return allowed
    if wanted < allowed:
        raise InputError(f"{name} is {wanted}; the bundle says {allowed}, and parameters may only tighten it (0 keeps it)")
    return wanted


def _threshold(manifest: Manifest) -> float:
    """The disagreement from which a plan is not executed: a multiple of what was usual in held-out data; inf where unknown."""
    usual = manifest.thresholds.get("disagreement", math.inf)
    return manifest.disagreement_factor * usual if manifest.disagreement_factor > 0 and usual > 0 else math.inf


def _latching(settings: SafetySettings, latching: frozenset[str]) -> frozenset[str]:
    wanted = {cause: getattr(settings, f"on_{cause}") for cause in CAUSES}
    for cause, choice in wanted.items():
        if choice == "resume" and cause in latching:
            raise InputError(f"safety.on_{cause} is 'resume'; the bundle says 'latch', and parameters may only tighten it")
    return frozenset(cause for cause, choice in wanted.items() if choice == "latch")


def _refuse_empty(name: str, lower: Vector, upper: Vector, labels: Sequence[str]) -> None:
    if (lower > upper).any():
        i = int(np.argmax(lower > upper))
        raise InputError(f"{name} leave no room for {labels[i]}: [{lower[i]:g}, {upper[i]:g}]")
