from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from dispose_stages.score import faces, features


def frames(count, side=24, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))


def test_windows():
    """Every stride frames, of one length, in order; a short clip has none."""
    seen = []

    def network(clips):
        seen.append(clips)
        return clips.mean(dim=(1, 3, 4))

    clip = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(11)]
    options = {"side": 8, "length": 4, "stride": 3, "device": "cpu", "batch": 2}
    found = features.clip_features(clip, network, **options)
    levels = 2 * np.arange(11) * 10 / 255 - 1
    assert found == pytest.approx(np.stack([levels[i : i + 4] for i in (0, 3, 6)]), abs=1e-6)
    assert [len(batch) for batch in seen] == [2, 1]
    assert seen[0].shape == (2, 3, 4, 8, 8)
    assert features.clip_features(clip[:3], network, **options).shape == (0, 0)


def test_frames_are_resized_and_scaled():
    """To [-1, 1], bilinear, half-pixel centres; in batches that change nothing."""

    def network(images):
        assert images.shape[1:] == (3, 12, 12)
        return images.flatten(1)

    images = frames(5)
    several = features.frame_features(images, network, side=12, device="cpu", batch=2)
    at_once = features.frame_features(images, network, side=12, device="cpu", batch=9)
    assert np.array_equal(several, at_once)
    halved = np.stack([cv2.resize(i.astype(np.float32), (12, 12)) for i in images])
    wanted = halved.transpose(0, 3, 1, 2).reshape(5, -1) / 127.5 - 1
    assert several == pytest.approx(wanted, abs=1e-5)


def test_distances_of_pairs():
    """Per frame; unscaled values are those DisCo's evaluator feeds."""

    def network(a, b):
        assert a.min() >= -1
        return (a - b).abs().mean(dim=(1, 2, 3))

    pairs = list(zip(frames(5), frames(5, seed=1), strict=True))
    plain = np.array([np.abs(a / 255.0 - b / 255.0).mean() for a, b in pairs])
    options = {"device": "cpu", "batch": 2}
    assert features.perceptual_distances(pairs, network, **options) == pytest.approx(2 * plain)
    unscaled = features.perceptual_distances(pairs, network, scaled=False, **options)
    assert unscaled == pytest.approx(plain)
    assert features.perceptual_distances([], network, **options).shape == (0,)


def face_keypoints(turn=0.3, scale=2.0, shift=(40.0, 60.0)):
    """134 keypoints whose eyes, nose and mouth are the usual places, turned, scaled, moved."""
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    places = faces._PLACES @ matrix.T + shift
    keypoints, scores = np.zeros((134, 2)), np.ones(134)
    for group, place in zip(faces._LANDMARKS, places, strict=True):
        keypoints[24 + np.array(group)] = place
    return keypoints, scores, matrix, np.array(shift)


def test_a_face_comes_to_its_place():
    """Whatever its turn, scale and place, the landmarks end where the networks want them."""
    keypoints, scores, matrix, shift = face_keypoints()
    points = faces.landmarks(keypoints, scores)
    wanted = faces.FaceInput(height=56, width=56)
    image = np.zeros((400, 400, 3), np.uint8)
    spot = np.array([60.0, 80.0]) @ matrix.T + shift  # a point of the face, as the picture has it
    cv2.circle(image, tuple(round(v) for v in spot), 6, (255, 255, 255), -1)
    face = faces.aligned_face(image, points, wanted)
    rows, columns = np.nonzero(face[..., 0] > 128)
    assert face.shape == (56, 56, 3)
    assert (columns.mean(), rows.mean()) == pytest.approx((30, 40), abs=0.7)


def test_a_hidden_face_has_no_landmarks():
    """One corner of the mouth is enough."""
    keypoints, scores, _, _ = face_keypoints()
    scores[24 + 54] = 0.3
    assert faces.landmarks(keypoints, scores) is None


def test_embeddings_are_unit_vectors_of_normalised_values():
    """Order of channels, mean and scale as the network wants them."""
    images = frames(3, side=8)
    wanted = faces.FaceInput(8, 8, mean=127.5, scale=128.0, bgr=True)
    seen = []

    def network(batch):
        seen.append(batch)
        return batch.reshape(len(batch), -1)[:, :10]

    vectors = faces.embeddings(images, network, wanted)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    expected = (np.stack(images)[..., ::-1].astype(np.float32) - 127.5) / 128
    assert np.array_equal(seen[0], expected.transpose(0, 3, 1, 2))


def test_onnx_face_network(tmp_path):
    """A file made here, through the pipeline's own runtime."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from dispose_stages.weights.loading.dwpose import open_network

    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((5, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["face", "kernel"], ["map"]),
            helper.make_node("Flatten", ["map"], ["embedding"]),
        ],
        "face",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, tmp_path / "face.onnx")
    network = open_network(tmp_path / "face.onnx", device="cpu", allow_cpu=True, batch_size=2)
    images = frames(3, side=8)
    wanted = faces.FaceInput(*network.input_size)
    vectors = faces.embeddings(images, lambda batch: network(batch)[0], wanted)
    raw = ((np.stack(images) - 127.5) / 127.5).transpose(0, 3, 1, 2).reshape(3, -1)
    expected = raw @ kernel.reshape(5, -1).T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors == pytest.approx(expected, abs=1e-5)
    assert torch.tensor(vectors).isfinite().all()
