"""Products of tensors along named axes."""

from __future__ import annotations

import string

import numpy as np
from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES


@RULES.register("MatMul")
def matrix_product(builder: Builder, a: Value, b: Value) -> Value:
    """Y = A B, with either of them transposed, as the adjoints dA = dY B^T and dB = A^T dY have it.

    As one operation, where a runtime has it: it would otherwise keep a weight a second time,
    transposed.
    """
    turned = [bool(builder.attribute(name)) for name in ("transpose_a", "transpose_b")]
    if any(turned) and a.dtype == TensorProto.FLOAT:
        return a.op("Gemm", b, transA=int(turned[0]), transB=int(turned[1]))
    left, right = (
        tensor.transpose([1, 0]) if turn else tensor
        for tensor, turn in zip((a, b), turned, strict=True)
    )
    return left.op("MatMul", right)


@RULES.register("Einsum")
def einstein_sum(builder: Builder, *factors: Value) -> Value:
    """With y[out] = sum over the other axes of the product of all x_k[term_k].

    The adjoint of one factor is again such a sum, and TensorFlow writes it in forms that ONNX does
    not read: an ellipsis that stands for axes in one factor and for none in another, axes that
    differ in upper case only, and an axis twice in the result (the adjoint of a diagonal), which
    is a product with the identity matrix.
    """
    operands = list(factors)
    terms, out = _terms(builder)
    if _is_matrix_product(terms, out):
        # Runtimes compute these faster than sums over named axes.
        turned = terms[1][1] != out[-1]
        return operands[0].op("MatMul", operands[1].transpose([1, 0] if turned else [0, 1]))
    free = _unused_letters([*terms, out])
    for place, letter in enumerate(out):
        if letter in out[:place]:
            again = free.pop(0)
            operands.append(operands[0].like(np.eye(_size(operands, terms, letter))))
            terms.append(letter + again)
            out = out[:place] + again + out[place + 1 :]
    return builder.op("Einsum", *operands, equation=f"{','.join(terms)}->{out}")


def _terms(builder: Builder) -> tuple[list[str], str]:
    """The axes of each factor and of the result, a letter each and no ellipsis left."""
    left, out = str(builder.attribute("equation")).replace(" ", "").split("->")
    terms = left.split(",")
    spans = [
        tensor.rank - len(term.replace("...", ""))
        for term, tensor in zip(terms, builder.inputs, strict=True)
    ]
    letters = "".join(_unused_letters([*terms, out])[: max(spans)])

    def spelled(term: str, span: int) -> str:
        # Axes of an ellipsis are counted from its end, as in every broadcast.
        return term.replace("...", letters[len(letters) - span :])

    return list(map(spelled, terms, spans)), spelled(out, len(letters))


def _unused_letters(terms: list[str]) -> list[str]:
    used = set("".join(terms))
    return [letter for letter in string.ascii_letters if letter not in used]


def _size(operands: list[Value], terms: list[str], letter: str) -> int:
    for tensor, term in zip(operands, terms, strict=True):
        if letter in term:
            size = tensor.known_shape[term.index(letter)]
            if size is not None:
                return size
    raise ValueError("an axis that is a diagonal's has a free size")


def _is_matrix_product(terms: list[str], out: str) -> bool:
    """Whether this is x[..., k] W[k, j], or the same with W's two axes exchanged."""
    if len(terms) != 2 or len(terms[1]) != 2 or len(terms[0]) < 2 or len(out) < 2:
        return False
    first, second = terms
    if any(len(set(term)) < len(term) for term in (first, second, out)):
        return False
    shared, kept = first[-1], out[-1]
    return set(second) == {shared, kept} and first[:-1] == out[:-1]
