"""A bundle is what was exported, or it is refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import slider

from forerun_models.bundle import Bundle, BundleError, load
from forerun_models.bundle.files import sha256
from forerun_models.export import Provenance, export_bundle
from forerun_sim.errors import ForerunError, InputError


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    spec = slider.robot(folder / "robot", history=3)
    provenance = Provenance({"trials": ["abc"]}, seed=0)
    return export_bundle(folder / "b", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), provenance)


@pytest.fixture(scope="module")
def bundle(exported) -> Bundle:
    return load(exported)


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "b"))


def edit(folder: Path, **changes) -> None:
    """Changes bundle.json as someone would who knows what he does."""
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_predicts_the_known_dynamics(bundle):
    rng = np.random.default_rng(0)
    state, actions = rng.normal(size=(5, 1, 2)), rng.uniform(-4, 4, (5, 10, 1))
    predicted = bundle.rollout(state, np.zeros((5, 0, 1)), actions)
    for i in range(10):
        state = (state[:, 0] @ slider.A.T + actions[:, i] @ slider.B.T)[:, None]
        np.testing.assert_allclose(predicted[:, i], state[:, 0], atol=5e-3)


@given(past=st.integers(1, 8), horizon=st.integers(1, 6), count=st.integers(1, 150), at=st.integers(0, 150))
@settings(max_examples=25)
def test_a_rollout_does_not_depend_on_how_the_batch_is_cut(bundle, past, horizon, count, at):
    rng = np.random.default_rng(0)
    states, given_, actions = (rng.normal(size=(count, n, d)) for n, d in ((past, 2), (past - 1, 1), (horizon, 1)))
    whole = bundle.rollout(states, given_, actions)
    parts = [
        bundle.rollout(states[cut], given_[cut], actions[cut]) for cut in (slice(0, at), slice(at, None)) if len(states[cut])
    ]
    assert whole.shape == (count, horizon, 2)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-6)


def test_short_pasts_repeat_their_first_row(bundle):
    rng = np.random.default_rng(1)
    states, given_, actions = rng.normal(size=(4, 2, 2)), rng.normal(size=(4, 1, 1)), rng.normal(size=(4, 5, 1))
    padded = bundle.rollout(np.concatenate([states[:, :1], states], 1), np.concatenate([given_, given_], 1), actions)
    np.testing.assert_array_equal(bundle.rollout(states, given_, actions), padded)


def test_wrong_shapes_are_named(bundle):
    with pytest.raises(ValueError, match=r"past_states \[N, K, 2\].*got \(4, 2, 2\), \(4, 2, 1\)"):
        bundle.rollout(np.zeros((4, 2, 2)), np.zeros((4, 2, 1)), np.zeros((4, 5, 1)))


def test_a_tick_is_reproducible(bundle):
    noise = np.random.default_rng(0).standard_normal(bundle.manifest.noise_size)
    history = np.tile([1.0, 0.0, 0.0], (3, 1))
    first, second = (bundle.act(history, [0.0], noise, 0.0, 0.0, bundle.start()) for _ in range(2))
    assert first.plan.shape == (15, 1)
    assert first.predicted.shape == (15, 2)
    assert first.plan[0, 0] < 0, "it pushes back"
    np.testing.assert_array_equal(first.plan, second.plan)


def test_every_changed_byte_is_noticed(copied):
    for path in sorted(p for p in copied.rglob("*") if p.is_file()):
        content = path.read_bytes()
        position = len(content) // 2
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        if path.name != "bundle.json":
            with pytest.raises(BundleError, match=f"{path.name}: was changed or damaged"):
                load(copied)
        path.write_bytes(content)
    load(copied)


def test_a_changed_manifest_is_noticed_by_its_digest(copied):
    digest = sha256((copied / "bundle.json").read_bytes())
    edit(copied, horizon=16)
    with pytest.raises(BundleError, match=r"bundle.json: was changed or damaged"):
        load(copied, sha256=digest)


def test_a_foreign_bundle_is_refused(copied):
    with pytest.raises(BundleError, match="is a bundle for the robot 'slider', not for 'panda'"):
        load(copied, robot="panda")


def test_a_newer_format_is_refused(copied):
    edit(copied, format=99)
    with pytest.raises(BundleError, match=r"bundle format 99 cannot be read here.*newer Forerun"):
        load(copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"../robot/robot.yaml": "0" * 64, "act.onnx": "0", "parity.npz": "0"}}, "lies outside the bundle"),
        ({"rate": 0}, "rate must be within"),
        ({"rate": "fast"}, "could not convert"),
        ({"history": 7}, "takes a history"),
        ({"safety": {}}, "key 'action' is missing"),
        ({"actions": []}, "must not be empty"),
    ],
)
def test_a_wrong_manifest_is_refused(copied, changes, message):
    edit(copied, **changes)
    with pytest.raises(BundleError, match=message):
        load(copied)


@pytest.mark.parametrize("name", ["bundle.json", "act.onnx", "parity.npz"])
def test_missing_and_truncated_files_are_named(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=name):
        load(copied)
    (copied / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: cannot be read"):
        load(copied)


def test_no_folder_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="no such bundle folder"):
        load(tmp_path / "nothing")


def test_another_computation_fails_parity(copied, bundle):
    """A graph that was swapped with its digest: the numbers tell."""
    import onnx

    model = onnx.load(copied / "dynamics.onnx")
    for weights in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.ndim == 3 and values.dtype == np.float32:
            weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), weights.name))
    (copied / "dynamics.onnx").write_bytes(model.SerializeToString())
    files = dict(bundle.manifest.files) | {"dynamics.onnx": sha256((copied / "dynamics.onnx").read_bytes())}
    edit(copied, files=files)
    with pytest.raises(BundleError, match=r"dynamics.onnx computes another"):
        load(copied)


def test_external_data_is_refused(copied, bundle):
    import onnx

    model = onnx.load(copied / "dynamics.onnx")
    onnx.save(model, copied / "dynamics.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    files = dict(bundle.manifest.files) | {"dynamics.onnx": sha256((copied / "dynamics.onnx").read_bytes())}
    edit(copied, files=files)
    with pytest.raises(BundleError, match="keeps its weights in another file"):
        load(copied)


def test_bundles_are_never_overwritten(exported, tmp_path):
    spec = slider.robot(tmp_path / "robot", history=3)
    with pytest.raises(BundleError, match="exists already"):
        export_bundle(exported, slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0))


def test_a_full_disk_leaves_no_bundle(mounted, tmp_path):
    disk, spec = mounted(), slider.robot(tmp_path / "robot", history=3)
    (disk / "filler").write_bytes(bytes(1_000_000))
    with pytest.raises(ForerunError, match="the disk is full"):
        export_bundle(disk / "b", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0))
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_read_only_folder_leaves_no_bundle(mounted, read_only, tmp_path):
    disk, spec = mounted(), slider.robot(tmp_path / "robot", history=3)
    read_only(disk)
    with pytest.raises(InputError, match="choose a folder that you may write to"):
        export_bundle(disk / "b", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0))
    assert not list(disk.iterdir())


@given(content=st.binary(max_size=200))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rubbish_as_manifest_is_refused_cleanly(tmp_path, content):
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError):
        load(tmp_path)
