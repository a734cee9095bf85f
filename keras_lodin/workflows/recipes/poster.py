"""The rows of the poster (Jevnisek & Avidan, BMVC 2022), one after the other.

Its figures are for CIFAR-10, in per cent: AUROC, FPR95 (ID positive), ID accuracy, each of a single
run. Its GQ rows add the pooled form with weight 1e-6, whose gradient is about 1e-7 of the
cross-entropy's; its "ODIN" on the ResNets normalised the softmax over the whole batch, which ranks
like the maximum logit. So every row is measured with true ODIN and the maximum logit beside its own
detector, and on several seeds if asked to.
"""

from __future__ import annotations

from dataclasses import replace

from keras_lodin.workflows.recipes.recipe import PRETRAINED, Published, Recipe, Training

_GQ = Training(gq_weight=1e-6)
_WRN, _MSDNET, _MADRY = "wide_resnet_40_4", "msdnet", "wide_resnet_34_1"

_CIFAR10 = (
    Recipe("msp-wrn", "cifar10", _WRN, "msp", published=Published(88.99, 56.81, 94.93)),
    Recipe("odin-wrn", "cifar10", _WRN, "odin", published=Published(90.11, 35.31, 94.93)),
    Recipe(
        "mahalanobis-wrn", "cifar10", _WRN, "mahalanobis", published=Published(89.33, 35.48, 94.93)
    ),
    Recipe("energy-wrn", "cifar10", _WRN, "energy", published=Published(90.04, 35.26, 94.93)),
    Recipe("msp-msdnet", "cifar10", _MSDNET, "msp", published=Published(89.72, 49.87, 94.09)),
    Recipe("odin-msdnet", "cifar10", _MSDNET, "odin", published=Published(90.33, 29.30, 94.09)),
    Recipe(
        *("mahalanobis-msdnet", "cifar10", _MSDNET, "mahalanobis"),
        published=Published(82.84, 75.19, 94.09),
    ),
    Recipe("energy-msdnet", "cifar10", _MSDNET, "energy", published=Published(90.48, 33.62, 94.09)),
    Recipe(
        *("mood", "cifar10", _MSDNET, "mood"),
        published=Published(91.26, 28.05, 94.13),
        note="The exit is chosen by the image's size as a PNG file; the other rows of MSDNet take "
        "the last exit.",
    ),
    Recipe(
        *("odin-madry", "cifar10", _MADRY, "odin"),
        published=Published(90.51, 36.57, 92.19),
        note="The published code's Madry's ResNet has width 1; the usual network of that name is "
        "wide_resnet_34_10.",
    ),
    Recipe(
        "odin-gq-madry", "cifar10", _MADRY, "odin", _GQ, published=Published(91.94, 30.19, 93.29)
    ),
    Recipe(
        "odin-resnet18", "cifar10", "resnet18", "odin", published=Published(89.09, 27.75, 95.27)
    ),
    Recipe(
        *("odin-gq-resnet18", "cifar10", "resnet18", "odin", _GQ),
        published=Published(93.55, 25.14, 94.26),
    ),
    Recipe(
        "odin-resnet34", "cifar10", "resnet34", "odin", published=Published(89.03, 35.33, 95.21)
    ),
    Recipe(
        *("odin-gq-resnet34", "cifar10", "resnet34", "odin", _GQ),
        published=Published(89.08, 27.63, 95.56),
    ),
)

_CIFAR100 = tuple(
    replace(recipe, name=f"{recipe.name}-cifar100", id="cifar100", published=None)
    for recipe in _CIFAR10
)

_IMAGENET = (
    Recipe(
        *("odin-imagenet", "imagenet", PRETRAINED, "odin", None),
        note="A pretrained classifier as it is: the control of odin-gq-imagenet.",
    ),
    Recipe(
        *("odin-gq-imagenet", "imagenet", PRETRAINED, "odin"),
        Training(
            epochs=1,
            learning_rate=1e-5,
            weight_decay=0.0,
            augment=None,
            gq_weight=1.0,
            form="softmax",
            estimator="sampled",
            loss_weights=(0.0,),
            freeze_batch_norm=True,
        ),
        note="GQ alone for one epoch, the poster's recipe for pretrained networks; with the "
        "sampled estimator, as there are 1,000 classes, and BatchNormalization frozen.",
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*_CIFAR10, *_CIFAR100, *_IMAGENET)}
