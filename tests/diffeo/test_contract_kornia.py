"""The sampler inside kornia's containers: every data key follows the field, replays, and goes back."""

import copy
import pickle

import pytest
import torch
from kornia import augmentation as K
from kornia.geometry.boxes import Boxes
from kornia.geometry.keypoints import Keypoints

from diffstab.diffeo import displacement_field, moved_boxes, moved_points, warp, warp_by_coefficients
from diffstab.diffeo.sampler import RandomDiffeomorphism
from diffstab.errors import ArgumentError

COUNT, HEIGHT, WIDTH = 6, 22, 28
KEYS = ["input", "mask", "keypoints", "bbox", "bbox_xyxy", "bbox_xywh", "class"]


def deform(p=1.0, delta_px=1.5, **options):
    return RandomDiffeomorphism(delta_px, p=p, generator=torch.Generator().manual_seed(3), **options)


@pytest.fixture
def images(generator):
    return torch.rand(COUNT, 2, HEIGHT, WIDTH, generator=generator)


@pytest.fixture
def points():
    return torch.tensor([[14.0, 11], [5.5, 7.25], [0, 0], [-1, -1], [20, 16]]).repeat(COUNT, 1, 1)


@pytest.fixture
def sample(images, points):
    masks = (images[:, :1] * 5).floor()
    corners = torch.tensor([[[6.0, 5], [19, 5], [19, 15], [6, 15]]]).repeat(COUNT, 1, 1, 1)
    xyxy = torch.tensor([[[6.0, 5, 19, 15]]]).repeat(COUNT, 1, 1)
    xywh = torch.tensor([[[6.0, 5, 14, 11]]]).repeat(COUNT, 1, 1)
    return [images, masks, points, corners, xyxy, xywh, torch.arange(COUNT)]


def parameters(sequence):
    """Coefficients, and which images are deformed."""
    data = sequence._params[0].data
    return data["coefficients"], data["batch_prob"] > 0.5


@pytest.mark.parametrize("same_on_batch", [False, True])
@pytest.mark.parametrize("p", [1.0, 0.5, 0.0])
def test_every_data_key_follows_the_field(p, same_on_batch, sample):
    sequence = K.AugmentationSequential(deform(p, same_on_batch=same_on_batch), data_keys=KEYS)
    images, masks, points, corners, xyxy, xywh, classes = sequence(*sample)
    coefficients, applied = parameters(sequence)
    chosen = applied[:, None, None, None]
    size = (HEIGHT, WIDTH)
    boxes = moved_boxes(sample[3], coefficients, size).where(chosen, sample[3].double()).float()
    keys = moved_points(sample[2], coefficients, size).where(chosen[..., 0], sample[2].double()).float()
    nearest = warp_by_coefficients(sample[1], coefficients, "nearest")
    assert torch.allclose(
        images, warp_by_coefficients(sample[0], coefficients).where(chosen, sample[0]), atol=1e-5
    )
    assert torch.equal(masks, nearest.where(chosen, sample[1]))
    assert torch.allclose(points, keys)
    assert torch.allclose(corners, boxes)
    assert torch.allclose(xyxy, boxes[:, :, [0, 2]].flatten(2))
    assert torch.allclose(
        xywh, torch.cat([boxes[:, :, 0], boxes[:, :, 2] - boxes[:, :, 0] + 1], dim=-1), atol=1e-5
    )
    assert torch.equal(classes, sample[6])
    assert (p == 0) == torch.equal(points, sample[2])


def test_a_key_point_goes_to_the_pixel_that_shows_it(generator):
    # The picture is the place itself: the point that a pixel shows must go to that pixel.
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    places = torch.stack([x, y]).double().repeat(COUNT, 1, 1, 1)
    sequence = K.AugmentationSequential(deform(), data_keys=["input", "keypoints"])
    shown = sequence(places, torch.zeros(COUNT, 1, 2))[0].flatten(2).transpose(1, 2)
    _, moved = sequence(places, shown, params=sequence._params)
    assert (moved - places.flatten(2).transpose(1, 2)).norm(dim=-1).max() < 1e-3
    assert (shown - moved).norm(dim=-1).max() > 1.5


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_a_call_replays_with_and_without_the_image(p, sample):
    sequence = K.AugmentationSequential(deform(p), data_keys=KEYS)
    first = sequence(*sample)
    kept = copy.deepcopy(sequence._params)
    sequence(*sample)
    for one, other in zip(sequence(*sample, params=kept), first):
        assert torch.equal(one, other)
    points, boxes = sequence(sample[2], sample[4], params=kept, data_keys=["keypoints", "bbox_xyxy"])
    assert torch.equal(points, first[2])
    assert torch.equal(boxes, first[4])


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_inverse_undoes_every_data_key(p, sample):
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    sample[0] = torch.sin(0.2 * rows + 0.15 * columns).repeat(COUNT, 1, 1, 1)
    sample[1] = (columns > rows).float().repeat(COUNT, 1, 1, 1)
    sequence = K.AugmentationSequential(deform(p), data_keys=KEYS)
    moved = sequence(*sample)
    images, masks, points, corners, xyxy, xywh, classes = sequence.inverse(*moved)
    assert (moved[0] - sample[0]).abs().max() > 0.25
    assert (images - sample[0]).abs().max() < 0.04
    assert masks.unique().tolist() == [0, 1]
    assert (masks != sample[1]).double().mean() < 0.5 * (moved[1] != sample[1]).double().mean()
    assert (points - sample[2]).abs().max() < 1e-4
    for back, boxes in ((corners[:, :, [0, 2]].flatten(2), sample[4]), (xyxy, sample[4])):
        assert (back[..., :2] <= boxes[..., :2] + 0.01).all()
        assert (back[..., 2:] >= boxes[..., 2:] - 0.01).all()
    assert (xywh[..., 2:] >= sample[5][..., 2:] - 0.02).all()
    assert torch.equal(classes, sample[6])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions(dtype, sample):
    sequence = K.AugmentationSequential(deform(), data_keys=["input", "mask", "keypoints"])
    images, masks, points = sequence(sample[0].to(dtype), sample[1].to(dtype), sample[2])
    coefficients, _ = parameters(sequence)
    assert torch.equal(images, warp_by_coefficients(sample[0].to(dtype), coefficients))
    assert torch.equal(masks, warp_by_coefficients(sample[1].to(dtype), coefficients, "nearest"))
    assert torch.allclose(points, moved_points(sample[2], coefficients, (HEIGHT, WIDTH)).float())


def test_under_autocast_all_is_as_without(sample):
    sequence = K.AugmentationSequential(deform(), data_keys=KEYS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = sequence(*sample)
    for one, other in zip(sequence(*sample, params=sequence._params), first):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_integer_masks_and_lists_of_masks(sample):
    sequence = K.AugmentationSequential(deform(), data_keys=["input", "mask"])
    expected = sequence(sample[0], sample[1])[1]
    integer = sequence(sample[0], sample[1].long(), params=sequence._params)[1]
    assert integer.dtype == torch.int64
    assert torch.equal(integer, expected.long())
    listed = sequence(sample[0], list(sample[1]), params=sequence._params)[1]
    assert torch.equal(torch.stack([mask.view(1, HEIGHT, WIDTH) for mask in listed]), expected)


def test_containers_of_points_and_boxes_stay_what_they_are(sample):
    sequence = K.AugmentationSequential(deform(), data_keys=["input", "keypoints", "bbox_xyxy"])
    points, boxes = Keypoints(sample[2].clone()), Boxes.from_tensor(sample[4], mode="xyxy_plus")
    _, moved_keys, moved = sequence(sample[0], points, boxes)
    plain = sequence(sample[0], sample[2], sample[4], params=sequence._params)
    assert torch.equal(moved_keys.to_tensor(), plain[1])
    assert torch.equal(moved.to_tensor("xyxy_plus"), plain[2])
    assert torch.equal(points.data, sample[2])  # the caller's own stay
    assert torch.equal(boxes.to_tensor("xyxy_plus"), sample[4])


def test_one_image_and_its_points(images, points):
    sequence = K.AugmentationSequential(deform(), data_keys=["input", "keypoints", "bbox_xyxy"])
    image, moved, boxes = sequence(images[:1], points[0], torch.tensor([[6.0, 5, 19, 15]]))
    coefficients, _ = parameters(sequence)
    assert image.shape == (1, 2, HEIGHT, WIDTH)
    assert torch.allclose(
        moved.view(5, 2), moved_points(points[:1], coefficients, (HEIGHT, WIDTH))[0].float()
    )
    assert boxes.numel() == 4
    with pytest.raises(ArgumentError, match=r"points must have shape \(n, P, 2\), n = 6"):
        sequence(images, points[:2], torch.tensor([[[6.0, 5, 19, 15]]]))


def test_dictionaries(sample):
    sequence = K.AugmentationSequential(deform(), data_keys=None)
    result = sequence({"image": sample[0], "keypoints": sample[2], "mask": sample[1], "name": "a"})
    coefficients, _ = parameters(sequence)
    assert result["name"] == "a"
    assert torch.allclose(result["keypoints"], moved_points(sample[2], coefficients, (HEIGHT, WIDTH)).float())


def test_after_a_flip_and_before_a_rotation(sample):
    # Each step moves all keys: a flip before is the flip of the inputs, a quarter turn after is that of the outputs.
    flip, turn = K.RandomHorizontalFlip(p=1.0), K.RandomRotation90((1, 1), p=1.0)
    images, points = torch.rand(COUNT, 1, 24, 24, generator=torch.Generator().manual_seed(0)), sample[2]
    sequence = K.AugmentationSequential(flip, deform(), turn, data_keys=["input", "keypoints"])
    with torch.random.fork_rng(devices=[]):  # kornia's own steps draw from the global generator
        result, moved = sequence(images, points)
    coefficients = sequence._params[1].data["coefficients"]
    expected = warp(images.flip(3), displacement_field(coefficients, 24, 24).float())
    assert torch.allclose(result, torch.rot90(expected, 1, (2, 3)), atol=1e-4)
    mirrored = torch.stack([23 - points[..., 0], points[..., 1]], dim=-1)
    there = moved_points(mirrored, coefficients, (24, 24)).float()
    assert torch.allclose(moved, torch.stack([there[..., 1], 23 - there[..., 0]], dim=-1), atol=1e-3)
    assert sequence.transform_matrix.isnan().any()  # no matrix says where a point goes


def test_a_matrix_of_the_container_is_that_of_its_other_parts_where_nothing_is_deformed(images):
    sequence = K.AugmentationSequential(K.RandomHorizontalFlip(p=1.0), deform(p=0.0), data_keys=["input"])
    sequence(images)
    flip = torch.tensor([[-1.0, 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]])
    assert torch.equal(sequence.transform_matrix, flip.expand(COUNT, 3, 3))


def test_nested_and_image_containers(images, points):
    inner = K.AugmentationSequential(deform(), data_keys=["input"])
    sequence = K.AugmentationSequential(inner, data_keys=["input", "keypoints"])
    result, moved = sequence(images, points)
    coefficients = sequence._params[0].data[0].data["coefficients"]
    assert torch.equal(result, warp_by_coefficients(images, coefficients))
    assert torch.allclose(moved, moved_points(points, coefficients, (HEIGHT, WIDTH)).float())
    plain = K.ImageSequential(deform())
    assert torch.equal(plain(images), result)
    assert torch.equal(plain(images, params=plain._params), result)


@pytest.mark.parametrize("same_on_frame", [True, False])
def test_videos(same_on_frame, generator):
    video = torch.rand(1, 1, 3, HEIGHT, WIDTH, generator=generator).expand(2, 3, -1, -1, -1).contiguous()
    sequence = K.VideoSequential(deform(), data_format="BTCHW", same_on_frame=same_on_frame)
    result = sequence(video)
    assert torch.equal(result[:, 0], result[:, 1]) == same_on_frame
    assert not torch.equal(result[0], result[1])
    points = torch.tensor([[14.0, 11]]).repeat(2, 3, 1, 1)
    keyed = K.AugmentationSequential(sequence, data_keys=["input", "keypoints"])
    _, moved = keyed(video, points)
    assert torch.equal(moved[:, 0], moved[:, 1]) == same_on_frame
    assert (moved - points).norm(dim=-1).min() > 0.05


def test_patches_have_fields_of_their_own(images):
    # Fields vanish on the border of each patch: there the picture stays.
    sequence = K.PatchSequential(deform(delta_px=0.7), grid_size=(2, 2), patchwise_apply=False)
    result = sequence(images)
    for edge in (0, HEIGHT // 2 - 1, HEIGHT // 2, HEIGHT - 1):
        assert torch.equal(result[:, :, edge], images[:, :, edge])
    assert not torch.equal(result, images)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_of_a_container_draw_the_same(duplicate, sample):
    sequence = K.AugmentationSequential(deform(p=0.5), data_keys=KEYS)
    twin = duplicate(sequence)
    for one, other in zip(twin(*sample), sequence(*sample)):
        assert torch.equal(one, other)
