"""The sampler as a transform of torchvision v2: one field for all parts of a sample, types kept, the rest untouched."""

import copy
import pickle
from collections import OrderedDict, namedtuple

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from diffstab.diffeo import displacement_field, moved_boxes, moved_points, warp, warp_by_coefficients
from diffstab.diffeo.sampler import RandomDiffeomorphism
from diffstab.errors import ArgumentError

SIZE = HEIGHT, WIDTH = 22, 28
has_key_points = pytest.mark.skipif(
    not hasattr(tv_tensors, "KeyPoints"), reason="torchvision has no key points"
)


@pytest.fixture
def deform():
    return RandomDiffeomorphism(1.5, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def image(generator):
    return torch.rand(3, HEIGHT, WIDTH, generator=generator)


def field_of(deform):
    return deform._params["coefficients"]


def warped(image, deform, mode="bilinear"):
    return warp_by_coefficients(image[None], field_of(deform), mode)[0]


def boxes(corners, form="XYXY", **options):
    return tv_tensors.BoundingBoxes(torch.tensor(corners, **options), format=form, canvas_size=SIZE)


PIPELINES = {
    "direct": lambda deform: deform,
    "compose": lambda deform: v2.Compose([v2.RandomHorizontalFlip(0.0), deform]),
    "apply": lambda deform: v2.RandomApply([deform], p=1.0),
    "order": lambda deform: v2.RandomOrder([deform, v2.Identity()]),
    "choice": lambda deform: v2.RandomChoice([deform]),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_image_and_label(pipeline, deform, image):
    with torch.random.fork_rng(devices=[]):
        result, label = PIPELINES[pipeline](deform)(tv_tensors.Image(image), 7)
    assert (type(result), label) == (tv_tensors.Image, 7)
    assert torch.equal(result, warped(image, deform))
    assert not torch.equal(result, image)


def test_every_companion_in_a_nested_sample(deform, image):
    Target = namedtuple("Target", ["boxes", "mask", "label"])
    mask = tv_tensors.Mask((image[:2] * 7).long())
    target = Target(boxes([[6.0, 5, 19, 15]]), mask, torch.tensor([3]))
    sample = {
        "image": tv_tensors.Image(image),
        "more": [target, OrderedDict(name="a", none=None)],
        "n": np.ones(3),
    }
    result = v2.Compose([deform])(sample)
    moved = result["more"][0]
    assert type(moved) is Target
    assert torch.equal(result["image"], warped(image, deform))
    assert (type(moved.mask), moved.mask.dtype) == (tv_tensors.Mask, torch.int64)
    assert torch.equal(moved.mask, warped(mask.float(), deform, "nearest").long())
    assert moved.label is target.label
    assert result["more"][1] == {"name": "a", "none": None}
    assert result["n"] is sample["n"]
    assert moved.boxes.canvas_size == SIZE


@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_boxes(form, dtype, deform, image):
    upright = boxes([[6.0, 5, 19, 15], [0, 0, WIDTH, HEIGHT], [2, 3, 9, 20]])
    given = v2.ConvertBoundingBoxFormat(form)(upright).to(dtype)
    _, result = deform(tv_tensors.Image(image), given)
    assert (result.format, result.canvas_size, result.dtype) == (given.format, SIZE, dtype)
    # torchvision's boxes count from the edge of the first pixel, points from its centre.
    first, second, width, height = given.as_subclass(torch.Tensor).double().unbind(-1)
    left, top, right, bottom = {
        "XYXY": (first, second, width, height),
        "XYWH": (first, second, first + width, second + height),
        "CXCYWH": (first - width / 2, second - height / 2, first + width / 2, second + height / 2),
    }[form]
    corners = torch.stack([left, top, right, top, right, bottom, left, bottom], -1).view(1, -1, 4, 2) - 0.5
    around = moved_boxes(corners, field_of(deform), SIZE)[0] + 0.5
    (left, top), (right, bottom) = around[:, 0].unbind(-1), around[:, 2].unbind(-1)
    expected = {
        "XYXY": (left, top, right, bottom),
        "XYWH": (left, top, right - left, bottom - top),
        "CXCYWH": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
    }[form]
    expected = torch.stack(expected, -1)
    assert (result.double() - expected).abs().max() < (0.51 if dtype == torch.int64 else 1e-4)
    if form == "XYXY":
        assert torch.equal(result[1], given[1])  # the whole canvas stays


def test_a_box_around_a_bright_spot_stays_around_it(deform):
    image = torch.zeros(1, HEIGHT, WIDTH)
    image[:, 8:14, 10:18] = 1
    result, box = deform(tv_tensors.Image(image), boxes([[10.0, 8, 18, 14]]))
    rows, columns = (result[0] > 0.5).nonzero().unbind(1)
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (box[0] - found).abs().max() < 1
    assert (box[0] - torch.tensor([10.0, 8, 18, 14])).abs().max() > 1


@pytest.mark.parametrize("form", ["XYWHR", "CXCYWHR", "XYXYXYXY"])
def test_rotated_boxes_are_refused(form, deform, image):
    if not hasattr(tv_tensors.BoundingBoxFormat, form):
        pytest.skip("torchvision has no rotated boxes")
    numbers = 8 if form == "XYXYXYXY" else 5
    with pytest.raises(
        ArgumentError, match=r"bounding boxes must have one of the formats XYXY, XYWH, CXCYWH"
    ):
        deform(tv_tensors.Image(image), boxes([[5.0] * numbers], form))


@has_key_points
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float16], ids=str)
def test_key_points(dtype, deform, image):
    points = torch.tensor([[[14, 11], [5, 7]], [[-1, -1], [20, 16]]]).to(dtype)
    given = tv_tensors.KeyPoints(points, canvas_size=SIZE)
    _, result = deform(tv_tensors.Image(image), given)
    assert (type(result), result.canvas_size, result.dtype) == (tv_tensors.KeyPoints, SIZE, dtype)
    expected = moved_points(points.view(1, 4, 2), field_of(deform), SIZE).view(2, 2, 2)
    assert (result.double() - expected).abs().max() < {
        torch.float32: 1e-5,
        torch.int64: 0.501,
        torch.float16: 0.01,
    }[dtype]


def test_a_video_has_one_field(deform, image):
    video = tv_tensors.Video((255 * image[:1].expand(4, 3, -1, -1)).byte())
    result = deform(video)
    assert (type(result), result.dtype) == (tv_tensors.Video, torch.uint8)
    assert torch.equal(result, result[:1].expand(4, -1, -1, -1))
    assert torch.equal(result[0], warped(video[0].float(), deform).round().byte())


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "F", "I", "I;16"])
def test_pil_images_stay_pil_images(mode, deform, image):
    numbers = {"F": np.float32, "I": np.int32, "I;16": np.uint16}
    if mode in numbers:
        given = PIL.Image.fromarray((image[0] * 60000).numpy().astype(numbers[mode]))
    else:
        bands = PIL.Image.new(mode, (1, 1)).getbands()
        planes = [PIL.Image.fromarray((255 * image[k % 3]).byte().numpy()) for k in range(len(bands))]
        given = PIL.Image.merge(mode, planes)
    result, label = v2.Compose([deform])(given, 3)
    assert (result.mode, result.size, label) == (mode, given.size, 3)
    before = torch.from_numpy(np.array(given).astype(np.float64)).reshape(HEIGHT, WIDTH, -1).permute(2, 0, 1)
    after = torch.from_numpy(np.array(result).astype(np.float64)).reshape(HEIGHT, WIDTH, -1).permute(2, 0, 1)
    expected = warped(before, deform)
    assert (after - expected).abs().max() < (0.01 if mode == "F" else 0.501)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("mode", ["P", "1", "HSV"])
def test_pil_images_that_do_not_interpolate_are_refused(mode, deform):
    with pytest.raises(ArgumentError, match=r"PIL image must have one of the modes L, LA, RGB.*Convert it"):
        deform(PIL.Image.new("RGB", (WIDTH, HEIGHT)).convert(mode))


def test_plain_tensors_by_the_rule_of_torchvision(deform, image):
    other = image + 1
    first, second = deform(image, other)  # no explicit image: the first is the image
    assert torch.equal(first, warped(image, deform))
    assert second is other
    label, result = deform(other, tv_tensors.Image(image))
    assert label is other
    assert torch.equal(result, warped(image, deform))
    result, mask = deform({"a": image[0], "b": tv_tensors.Mask(image[0] > 0.5)}).values()
    assert torch.equal(result, warped(image[:1], deform)[0])
    assert mask.dtype == torch.bool


def test_parts_of_other_sizes_carry_the_same_field_of_the_unit_square(deform, image):
    small = tv_tensors.Mask(torch.arange(11 * 14).view(11, 14))
    large, mask = deform(tv_tensors.Image(image), small)
    assert torch.equal(large, warp(image[None], displacement_field(field_of(deform).float(), *SIZE))[0])
    field = displacement_field(field_of(deform).float(), 11, 14)
    assert torch.equal(mask, warp(small[None, None].float(), field, "nearest")[0, 0].long())


def test_batches_have_one_field_per_image(deform, image):
    batch = tv_tensors.Image(torch.stack([image, image]))
    masks = tv_tensors.Mask((batch[:, 0] * 9).byte())
    images, moved, labels = deform(batch, masks, torch.tensor([0, 1]))
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, warp_by_coefficients(batch.as_subclass(torch.Tensor), field_of(deform)))
    assert torch.equal(
        moved, warp_by_coefficients(masks[:, None].float(), field_of(deform), "nearest")[:, 0].byte()
    )
    assert labels.tolist() == [0, 1]
    with pytest.raises(
        ArgumentError, match=r"sample must hold one image beside bounding boxes, got 2 images"
    ):
        deform(batch, boxes([[6.0, 5, 19, 15]]))
    with pytest.raises(ArgumentError, match="sample must hold 2 images or masks along the first axis"):
        deform(batch, tv_tensors.Mask(torch.zeros(3, HEIGHT, WIDTH)))
    shared = RandomDiffeomorphism(1.5, same_on_batch=True, generator=torch.Generator().manual_seed(3))
    images, moved = shared(batch, boxes([[6.0, 5, 19, 15]]))
    assert torch.equal(images[0], images[1])
    assert not torch.equal(moved, boxes([[6.0, 5, 19, 15]]))


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_what_is_not_deformed_stays_to_the_bit(p, image):
    deform = RandomDiffeomorphism(1.5, p=p, mode="gaussian", generator=torch.Generator().manual_seed(3))
    given = (tv_tensors.Image(image), tv_tensors.Mask(image[0] > 0.5), boxes([[6.0, 5, 19, 15]]), image[1])
    alone = 0
    for _ in range(12):
        result = deform(*given)
        stays = [torch.equal(one, other) for one, other in zip(result, given)]
        assert stays in ([True] * 4, [False, False, False, True])
        alone += all(stays)
    assert 12 * (1 - p) * 0.5 < alone <= 12 * (1 - p) * 1.7


def test_a_sample_replays(deform, image):
    sample = (tv_tensors.Image(image), tv_tensors.Mask(image > 0.5))
    first, kept = deform(*sample), copy.deepcopy(deform._params)
    deform(*sample)
    for one, other in zip(deform(*sample, params=kept), first):
        assert torch.equal(one, other)


def test_precisions_of_images(deform, image):
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.uint8):
        given = tv_tensors.Image((255 * image).to(dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result, _ = deform(given, 0)
        expected = warped(given.to(torch.float64 if dtype == torch.float64 else torch.float32), deform)
        assert torch.equal(result, (expected.round() if dtype == torch.uint8 else expected).to(dtype))


@pytest.mark.parametrize("bad", [3, "a", {"label": 1}, np.ones((8, 8))])
def test_samples_with_nothing_to_deform_are_refused(bad, deform):
    with pytest.raises(ArgumentError, match="sample must hold an image, a mask, boxes or key points"):
        deform(bad)


def test_unknown_types_of_torchvision_are_refused(deform, image):
    class Depth(tv_tensors.TVTensor):
        pass

    with pytest.raises(ArgumentError, match=r"sample must hold types of torchvision\.tv_tensors, got Depth"):
        deform(tv_tensors.Image(image), image.as_subclass(Depth))


def test_images_of_wrong_shapes_are_refused(deform):
    with pytest.raises(ArgumentError, match=r"images must have 2 to 4 dimensions, got shape \(9,\)"):
        deform(torch.zeros(9), torch.zeros(3, 8, 8))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_of_a_pipeline_draw_the_same(duplicate, deform, image):
    pipeline = v2.Compose([deform, v2.ToDtype(torch.float32, scale=True)])
    twin = duplicate(pipeline)
    sample = (tv_tensors.Image((255 * image).byte()), tv_tensors.Mask(image[0] > 0.5))
    for one, other in zip(twin(*sample), pipeline(*sample)):
        assert torch.equal(one, other)
