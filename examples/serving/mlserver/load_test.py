"""Measures a served detector under load, and prints a table. Needs numpy; `--binary` MLServer too.

python load_test.py batch.npy --clients 1 16 64 --seconds 10
python load_test.py batch.npy --clients 1 16 64 --seconds 10 --binary

Every client asks for one input at a time, as soon as it has the answer to the one before.
"""

import argparse
import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("batch", help=".npy file of inputs, in the shape and range of the classifier")
parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
parser.add_argument("--seconds", type=float, default=10.0)
parser.add_argument("--url", default="http://127.0.0.1:8080/v2/models/detector")
parser.add_argument("--binary", action="store_true", help="numbers as bytes, over gRPC")
parser.add_argument("--grpc", default="127.0.0.1:8081")
arguments = parser.parse_args()
batch = np.load(arguments.batch).astype("float32")
place = urlsplit(arguments.url)


def connected():
    """A function that asks once, over a connection of its own."""
    if arguments.binary:
        return connected_by_grpc()
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.request("GET", place.path)
    inputs = json.load(connection.getresponse())["inputs"]
    (name,) = (entry["name"] for entry in inputs if entry["name"] != "threshold")

    def ask(image):
        tensor = {"name": name, "shape": [1, *image.shape], "datatype": "FP32"}
        body = json.dumps({"inputs": [{**tensor, "data": image.ravel().tolist()}]})
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{place.path}/infer", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(answer.read().decode())
        outputs = {one["name"]: one["data"] for one in json.load(answer)["outputs"]}
        return outputs["score"][0]

    return ask


def connected_by_grpc():
    """The same, with the numbers as bytes."""
    import grpc
    from mlserver.grpc import dataplane_pb2 as messages
    from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

    model = place.path.rpartition("/")[2]
    stub = GRPCInferenceServiceStub(grpc.insecure_channel(arguments.grpc))
    inputs = stub.ModelMetadata(messages.ModelMetadataRequest(name=model)).inputs
    (name,) = (entry.name for entry in inputs if entry.name != "threshold")
    tensor_of = messages.ModelInferRequest.InferInputTensor

    def ask(image):
        tensor = tensor_of(name=name, datatype="FP32", shape=[1, *image.shape])
        request = messages.ModelInferRequest(model_name=model, inputs=[tensor])
        request.raw_input_contents.append(image.tobytes())
        answer = stub.ModelInfer(request)
        place = [one.name for one in answer.outputs].index("score")
        if answer.raw_output_contents:
            return np.frombuffer(answer.raw_output_contents[place], "float32")[0]
        return answer.outputs[place].contents.fp32_contents[0]

    return ask


def client(ask, until, durations):
    """Asks until the time is over, and notes how long each answer took, in milliseconds."""
    number = 0
    while time.perf_counter() < until:
        start = time.perf_counter()
        ask(batch[number % len(batch)])
        durations.append(1000.0 * (time.perf_counter() - start))
        number += 1


print("| clients | requests/s | median, ms | p99, ms |")
print("|---|---|---|---|")
for count in arguments.clients:
    clients = [connected() for _ in range(count)]
    durations, begun = [], time.perf_counter()
    given = (begun + arguments.seconds, durations)
    threads = [threading.Thread(target=client, args=(ask, *given)) for ask in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(durations) / (time.perf_counter() - begun)
    median, last = np.percentile(durations, [50, 99])
    print(f"| {count} | {rate:.0f} | {median:.1f} | {last:.1f} |", flush=True)
