"""An MLServer runtime for exported detectors, over onnxruntime."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor
from mlserver.utils import get_model_uri

DATATYPES = {"tensor(float)": "FP32", "tensor(bool)": "BOOL"}


class DetectorRuntime(MLModel):
    """Serves the .onnx file at `parameters.uri` of model-settings.json."""

    async def load(self) -> bool:
        """Opens the file, and describes its inputs and outputs to the metadata endpoint."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns that the threshold may be left out
        path = await get_model_uri(self.settings)
        self.session = onnxruntime.InferenceSession(path, options)
        optional = self.session.get_overridable_initializers()
        self.inputs = [described(value) for value in (*self.session.get_inputs(), *optional)]
        self.outputs = [described(value) for value in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits, scores and verdicts of a batch; an input `threshold` moves the verdicts."""
        names = [value.name for value in self.outputs]
        inputs = {}
        try:
            for entry in payload.inputs:
                inputs[entry.name] = np.asarray(NumpyCodec.decode_input(entry), "float32")
            if "threshold" in inputs:  # one number, whatever shape a client had to give it
                inputs["threshold"] = inputs["threshold"].reshape(())
            values = self.session.run(names, inputs)
        except Exception as error:  # onnxruntime's own classes of errors are not public
            raise InferenceError(str(error)) from error  # a wrong name or shape: status 400
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(names, values, strict=True)]
        for output, value in zip(outputs, values, strict=True):
            output.shape = list(value.shape)  # the codec makes (batch,) a (batch, 1)
        return InferenceResponse(model_name=self.name, outputs=outputs)


def described(value) -> MetadataTensor:
    """An input or output in the protocol's words, in which -1 is a free size."""
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return MetadataTensor(name=value.name, datatype=DATATYPES[value.type], shape=shape)
