"""The rows of the poster (Jevnisek & Avidan, BMVC 2022), one after the other.

Its figures are for CIFAR-10, in per cent: AUROC, FPR95 (ID positive), ID accuracy, each of a single
run. Its GQ rows add the pooled form with weight 1e-6, whose gradient is about 1e-7 of the
cross-entropy's; its "ODIN" on the ResNets normalised the softmax over the whole batch, which ranks
like the maximum logit. So every row is measured with true ODIN and the maximum logit beside its own
detector, and on several seeds if asked to.
"""

from __future__ import annotations

from dataclasses import replace

from keras_lodin.utils.registry import Registry
from keras_lodin.workflows.recipes.recipe import PRETRAINED, Published, Recipe, Training

_PLAIN, _GQ = Training(), Training(gq_weight=1e-6)
_WRN, _MSDNET, _MADRY = "wide_resnet_40_4", "msdnet", "wide_resnet_34_1"
_NOTES = {
    "mood": "The exit is chosen by the image's size as a PNG file; the other rows of MSDNet take "
    "the last exit.",
    "odin-madry": "The published code's Madry's ResNet has width 1; the usual network of that name "
    "is wide_resnet_34_10.",
}
_CIFAR10 = tuple(
    Recipe(
        *(name, "cifar10", network, detector, training),
        published=Published(*published),
        note=_NOTES.get(name, ""),
    )
    for name, network, detector, training, *published in (
        ("msp-wrn", _WRN, "msp", _PLAIN, 88.99, 56.81, 94.93),
        ("odin-wrn", _WRN, "odin", _PLAIN, 90.11, 35.31, 94.93),
        ("mahalanobis-wrn", _WRN, "mahalanobis", _PLAIN, 89.33, 35.48, 94.93),
        ("energy-wrn", _WRN, "energy", _PLAIN, 90.04, 35.26, 94.93),
        ("msp-msdnet", _MSDNET, "msp", _PLAIN, 89.72, 49.87, 94.09),
        ("odin-msdnet", _MSDNET, "odin", _PLAIN, 90.33, 29.30, 94.09),
        ("mahalanobis-msdnet", _MSDNET, "mahalanobis", _PLAIN, 82.84, 75.19, 94.09),
        ("energy-msdnet", _MSDNET, "energy", _PLAIN, 90.48, 33.62, 94.09),
        ("mood", _MSDNET, "mood", _PLAIN, 91.26, 28.05, 94.13),
        ("odin-madry", _MADRY, "odin", _PLAIN, 90.51, 36.57, 92.19),
        ("odin-gq-madry", _MADRY, "odin", _GQ, 91.94, 30.19, 93.29),
        ("odin-resnet18", "resnet18", "odin", _PLAIN, 89.09, 27.75, 95.27),
        ("odin-gq-resnet18", "resnet18", "odin", _GQ, 93.55, 25.14, 94.26),
        ("odin-resnet34", "resnet34", "odin", _PLAIN, 89.03, 35.33, 95.21),
        ("odin-gq-resnet34", "resnet34", "odin", _GQ, 89.08, 27.63, 95.56),
    )
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

RECIPES: Registry[Recipe] = Registry("recipe", "; `keras-lodin recipe list` shows what each is")
for _place, _recipe in enumerate((*_CIFAR10, *_CIFAR100, *_IMAGENET)):
    RECIPES.register(_recipe.name, position=_place)(_recipe)
