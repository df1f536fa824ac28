"""Batched views against formulas written out for one image at a time."""

import colorsys
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from genlib import Draws
from genlib.data.images.views import blurred, brightness, crop_boxes, cropped, hue_turned, jittered, resized, views


@pytest.fixture
def images():
    return (255 * Draws(0, "images").uniform(12, 3, 20, 32)).to(torch.uint8)


@pytest.mark.parametrize("size", [8, 24, 48])
def test_crops_are_torch_s_own_antialiased_resize_of_the_box(images, size):
    boxes = crop_boxes(Draws(1, "boxes"), len(images), 20, 32, 0.2)
    found = cropped(images, boxes, size)
    for image, (top, left, height, width), crop in zip(images, boxes.tolist(), found, strict=True):
        box = image[None, :, top : top + height, left : left + width].float() / 255
        expected = functional.interpolate(box, (size, size), mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(crop, expected[0], atol=2e-5, rtol=0)


def test_flips_mirror_the_crop(images):
    boxes = crop_boxes(Draws(1, "boxes"), len(images), 20, 32, 0.2)
    flipped = torch.arange(len(images)) % 2 == 0
    plain, mixed = cropped(images, boxes, 16), cropped(images, boxes, 16, flipped)
    torch.testing.assert_close(mixed[::2], plain[::2].flip(3))
    assert torch.equal(mixed[1::2], plain[1::2])


def test_boxes_lie_inside_and_have_the_areas_and_aspects_asked_for():
    top, left, height, width = crop_boxes(Draws(0, "boxes"), 4_000, 32, 32, 0.2).unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() <= 32
    assert (left + width).max() <= 32
    share = (height * width).double() / 32**2
    assert share.min() > 0.2 - 2 / 32
    aspect = width / height
    assert aspect.min() > 3 / 4 - 0.15
    assert aspect.max() < 4 / 3 + 0.15
    assert torch.unique(top).numel() > 10


def test_a_whole_image_at_its_own_size_is_itself(images):
    square = images[:, :, :20, :20]
    assert torch.equal(resized(square, 20), square / 255)
    grey = resized(square[:, :1], 10)
    assert grey.shape == (12, 3, 10, 10)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_jitter_is_brightness_contrast_saturation_hue_one_after_the_other(images):
    x = images.double() / 255
    change = (2 * Draws(0, "change").uniform(len(x), 4) - 1) * torch.tensor([0.4, 0.4, 0.2, 0.1])
    found = jittered(x, change.double())
    for image, (bright, contrast, saturation, hue), result in zip(x.numpy(), change.tolist(), found, strict=True):
        weights = np.array([0.2989, 0.587, 0.114])[:, None, None]
        y = np.clip((1 + bright) * image, 0, 1)
        y = np.clip((1 + contrast) * y - contrast * (weights * y).sum(0).mean(), 0, 1)
        y = np.clip((1 + saturation) * y - saturation * (weights * y).sum(0), 0, 1)
        for row in range(0, 20, 7):
            for column in range(0, 32, 11):
                h, s, v = colorsys.rgb_to_hsv(*y[:, row, column])
                expected = colorsys.hsv_to_rgb((h + hue) % 1, s, v)
                np.testing.assert_allclose(result[:, row, column], expected, atol=1e-6)


def test_no_change_changes_nothing(images):
    x = images.double() / 255
    torch.testing.assert_close(jittered(x, torch.zeros(len(x), 4).double()), x)
    torch.testing.assert_close(hue_turned(x, torch.ones(len(x)).double()), x)
    grey = brightness(x).expand(-1, 3, -1, -1)
    torch.testing.assert_close(hue_turned(grey, torch.full((len(x),), 0.3).double()), grey)


def test_a_blur_is_a_gaussian_of_each_image_s_own_width(images):
    x = images[:3].double() / 255
    sigma = torch.tensor([0.1, 0.8, 2.0]).double()
    square = x[..., :20]
    found = blurred(square, sigma)
    torch.testing.assert_close(found[0], square[0], atol=1e-6, rtol=0)
    for k in (1, 2):
        apart = torch.arange(-19, 20).double()
        kernel = torch.exp(-0.5 * (apart / sigma[k]) ** 2)
        weights = torch.outer(kernel, kernel)[None, None].expand(3, 1, -1, -1)
        total = functional.conv2d(torch.ones_like(square[k : k + 1]), weights, padding=19, groups=3)
        expected = functional.conv2d(square[k : k + 1], weights, padding=19, groups=3) / total
        torch.testing.assert_close(found[k], expected[0])


def test_each_change_happens_as_often_as_asked(images):
    square = images[:1, :, :20, :20].expand(2_000, -1, -1, -1)
    plain = {"size": 20, "least_area": 1.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    whole = square / 255
    unchanged = views(square, Draws(0, "views"), **plain)
    # The whole area at another aspect does not fit, so these crops are all but the whole image.
    kept = (unchanged - whole).abs().amax((1, 2, 3)) < 1e-5
    assert kept.any()
    for change, share in (("flip", 0.5), ("jitter", 0.8), ("grey", 0.2), ("solarise", 0.3), ("blur", 0.4)):
        changed = views(square, Draws(0, "views"), **{**plain, change: share})
        moved = ((changed - unchanged).abs().amax((1, 2, 3)) > 1e-4).double().mean().item()
        assert abs(moved - share) < 4 * math.sqrt(share * (1 - share) / 2_000), change


def test_views_are_in_range_and_differ(images):
    found = views(images, Draws(0, "views"), size=16, solarise=0.5, blur=0.5)
    assert found.shape == (12, 3, 16, 16)
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    again = views(images, Draws(0, "views"), size=16, solarise=0.5, blur=0.5)
    assert torch.equal(found, again)
    assert not torch.allclose(found, views(images, Draws(1, "views"), size=16, solarise=0.5, blur=0.5))


def test_workers_make_the_views_of_the_global_batch(images):
    whole = views(images, Draws(0, "views"), size=16, blur=0.5)
    parts = [views(images[6 * k : 6 * k + 6], Draws(0, "views", rank=k, world=2), size=16, blur=0.5) for k in (0, 1)]
    torch.testing.assert_close(torch.cat(parts), whole)
