"""An MLServer runtime for exported detectors, over onnxruntime."""

import asyncio
import json

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError, MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor
from mlserver.utils import get_model_uri

DATATYPES = {"tensor(float)": "FP32", "tensor(bool)": "BOOL"}
# Ranges that images come in: another that was read off data is no limit to other data.
CONVENTIONS = ([0.0, 1.0], [-1.0, 1.0], [0.0, 255.0])
# Resizing may overshoot by a rounding error: as a share of the range.
SLACK = 1e-3


class DetectorRuntime(MLModel):
    """Serves the .onnx file at `parameters.uri` of model-settings.json.

    Requests that wait while another one is computed are computed together, of at most
    `parameters.extra.largest_batch` inputs, 64 by default.
    """

    async def load(self) -> bool:
        """Opens the file, and describes its inputs and outputs to the metadata endpoint."""
        if (self.settings.max_batch_size or 0) > 1:
            # It joins requests before they are looked at: a bad one would spoil the others, and the
            # thresholds of several would be one input.
            raise MLServerError(
                "This runtime makes batches itself: leave `max_batch_size` out of the settings, "
                'and set `"extra": {"largest_batch": 64}` in `parameters`.'
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns that the threshold may be left out
        path = await get_model_uri(self.settings)
        self.session = onnxruntime.InferenceSession(path, options)
        self.inputs = [described(value) for value in self.session.get_inputs()]
        self.samples = {value.name: value.shape for value in self.inputs}
        optional = self.session.get_overridable_initializers()
        self.inputs += [described(value) for value in optional]
        self.outputs = [described(value) for value in self.session.get_outputs()]
        text = self.session.get_modelmeta().custom_metadata_map["keras_lodin"]
        self.images, self.limits = limits(json.loads(text))
        extra = (self.settings.parameters and self.settings.parameters.extra) or {}
        self.largest = int(extra.get("largest_batch", 64))
        self.waiting, self.work = [], None
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits, scores and verdicts of a batch; an input `threshold` moves the verdicts."""
        inputs, threshold = self.checked(payload)
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((inputs, answer))
        if self.work is None:
            self.work = asyncio.create_task(self.work_off())
        values = await answer
        if threshold is not None:
            values["is_ood"] = ~(values["score"] > threshold)  # so is a score that is no number
        outputs = [NumpyCodec.encode_output(*pair) for pair in values.items()]
        for output, value in zip(outputs, values.values(), strict=True):
            output.shape = list(value.shape)  # the codec makes (batch,) a (batch, 1)
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def checked(self, payload: InferenceRequest):
        """The inputs and the threshold of a request; an error of status 400 with what is wrong."""
        inputs = {}
        for entry in payload.inputs:
            try:
                inputs[entry.name] = np.asarray(NumpyCodec.decode_input(entry), "float32")
            except Exception as error:
                raise InferenceError(f"Input `{entry.name}` cannot be read: {error}") from error
        threshold = inputs.pop("threshold", None)
        if threshold is not None and threshold.size != 1:  # in whatever shape a client gives it
            raise InferenceError(f"`threshold` is one number. Received: shape {threshold.shape}")
        if inputs.keys() != self.samples.keys():
            raise InferenceError(
                f"The inputs are {', '.join(self.samples)}, and `threshold` may be added. "
                f"Received: {', '.join(inputs)}"
            )
        for name, value in inputs.items():
            wanted = self.samples[name]
            same_rank = len(wanted) == value.ndim
            if not same_rank or any(-1 != w != g for w, g in zip(wanted, value.shape, strict=True)):
                raise InferenceError(
                    f"`{name}` has shape {wanted}, -1 for any size. Received: {list(value.shape)}"
                )
        if len({len(value) for value in inputs.values()}) > 1:
            raise InferenceError("All inputs must have the same number of samples.")
        values = inputs[self.images]
        if self.limits is not None and values.size:
            low, high = self.limits
            slack = SLACK * (high - low)
            least, most = float(values.min()), float(values.max())
            if not (low - slack <= least and most <= high + slack):  # nor if one is no number
                raise InferenceError(
                    f"`{self.images}` lies between {low:g} and {high:g}, to which the detector's "
                    f"settings belong: scale it. Received: values from {least:g} to {most:g}"
                )
        return inputs, None if threshold is None else threshold.reshape(())

    async def work_off(self) -> None:
        """Computes what waits, batch after batch, until nothing does."""
        while self.waiting:
            batch = self.next_batch()
            try:
                await self.compute(batch)
            except Exception:
                for one in batch:  # whichever it was fails alone
                    try:
                        await self.compute([one])
                    except Exception as error:  # onnxruntime's own classes are not public
                        if not one[1].done():
                            one[1].set_exception(InferenceError(str(error)))
        self.work = None

    def next_batch(self):
        """The first that waits, and those behind it that can be computed with it."""
        kinds = lambda inputs: {name: value.shape[1:] for name, value in inputs.items()}  # noqa: E731
        (first, _), size = self.waiting[0], 0
        batch, kept = [], []
        for inputs, answer in self.waiting:
            count = len(inputs[self.images])
            fits = size + count <= self.largest and kinds(inputs) == kinds(first)
            if answer.done():  # the client has gone
                continue
            if not batch or (fits and self.samples[self.images][0] == -1):
                batch.append((inputs, answer))
                size += count
            else:
                kept.append((inputs, answer))
        self.waiting = kept
        return batch

    async def compute(self, batch) -> None:
        """Answers the requests of a batch, in one pass, beside which the server goes on."""
        joined = {
            name: np.concatenate([inputs[name] for inputs, _ in batch]) for name in self.samples
        }
        names = [value.name for value in self.outputs]
        values = await asyncio.to_thread(self.session.run, names, joined)
        start = 0
        for inputs, answer in batch:
            end = start + len(inputs[self.images])
            if not answer.done():
                answer.set_result(
                    {name: value[start:end] for name, value in zip(names, values, strict=True)}
                )
            start = end


def described(value) -> MetadataTensor:
    """An input or output in the protocol's words, in which -1 is a free size."""
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return MetadataTensor(name=value.name, datatype=DATATYPES[value.type], shape=shape)


def limits(about):
    """The name of the classifier's input, and between what its values lie, if that is a limit."""
    bounds = about["input_range"]
    read_off = about.get("input_range_origin") == "data" and bounds not in CONVENTIONS
    per_feature = any(isinstance(bound, list) for bound in bounds)
    return about["input_name"], None if per_feature or read_off else bounds
