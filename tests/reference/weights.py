"""A Keras model's weights as `torch_networks.py` takes them: in its order, or by name."""

from keras import layers

WEIGHTED = (layers.Conv2D, layers.BatchNormalization, layers.Dense)


def weight_arrays(model):
    """Arrays by `<layer>_<position>`, layers numbered as the network's code makes them."""
    return {
        f"{number}_{position}": array
        for number, layer in enumerate(_in_order_of_creation(model))
        for position, array in enumerate(layer.get_weights())
    }


def weight_arrays_by_name(model):
    """Arrays by `<name of the layer>_<position>`."""
    return {
        f"{layer.name}_{position}": array
        for layer in model.layers
        for position, array in enumerate(layer.get_weights())
    }


def _in_order_of_creation(model):
    """Layers with weights; a block's projection comes first."""
    weighted = [layer for layer in model.layers if isinstance(layer, WEIGHTED)]
    # Keras lists layers by depth, which puts a projection beside its block's second convolution.
    by_name = {layer.name: layer for layer in weighted}
    ordered = []
    for layer in weighted:
        if "_shortcut_" in layer.name:
            continue
        if layer.name.endswith("_1_conv"):
            block = layer.name.removesuffix("_1_conv")
            projection = [f"{block}_shortcut_conv", f"{block}_shortcut_norm"]
            ordered += [by_name[name] for name in projection if name in by_name]
        ordered.append(layer)
    return ordered
