// The exported detector in onnxruntime-web. The score, its p-value, the verdict and the step on the input come
// out of the graph; this file only turns pictures into pixels and shows what came out.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", location.href).href;
ort.env.wasm.numThreads = 1; // threads would need special headers from the server

const at = (id) => document.getElementById(id);
const drawing = at("drawing");
const pen = drawing.getContext("2d", { willReadFrequently: true });

let about, session, inputName, enlargement;
let latest = 0;

async function start() {
  about = await (await fetch("detector.json")).json();
  session = await ort.InferenceSession.create("detector.onnx", {
    logSeverityLevel: 3, // it warns that `threshold` is an input with a default, as it should be
  });
  inputName = session.inputNames.find((name) => name !== "threshold");
  at("threshold").textContent = about.threshold.toPrecision(6);
  // A fifth of the range can be seen; the step itself cannot.
  enlargement = Math.round(0.2 / about.epsilon);
  at("step").textContent =
    `The same after ODIN's step of ${about.epsilon}, enlarged ${enlargement} times to be seen`;
  clear();
  at("verdict").textContent = "Draw something.";
}

function clear() {
  latest += 1; // an answer on its way is no longer wanted
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, drawing.width, drawing.height);
  at("verdict").textContent = "Draw something.";
  at("verdict").className = "";
  at("class").textContent = at("score").textContent = at("p_value").textContent = "-";
}

// Grey values from 0 to 1 of a picture in the classifier's size.
function pixelsOf(source, width, height) {
  const { size } = about;
  const small = new OffscreenCanvas(size, size);
  const context = small.getContext("2d");
  context.imageSmoothingEnabled = width !== size || height !== size;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, size, size);
  const { data } = context.getImageData(0, 0, size, size);
  return Float32Array.from({ length: size * size }, (_, i) => {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  });
}

async function judge(pixels) {
  const { size } = about;
  const run = (latest += 1);
  const images = new ort.Tensor("float32", pixels, [1, size, size, 1]);
  const found = await session.run({ [inputName]: images });
  if (run !== latest) return;
  const logits = Array.from(found.logits.data);
  const label = about.classes[logits.indexOf(Math.max(...logits))];
  const isOod = Boolean(found.is_ood.data[0]);
  const verdict = isOod ? "Out of distribution: I do not know this." : `In distribution: a ${label}.`;
  at("verdict").textContent = verdict;
  at("verdict").className = isOod ? "out" : "in";
  at("class").textContent = label;
  at("score").textContent = found.score.data[0].toPrecision(8);
  at("p_value").textContent = found.p_value.data[0].toPrecision(4);
  show(at("input"), pixels);
  show(at("perturbed"), pixels.map((value, i) => value + enlargement * (found.perturbed.data[i] - value)));
  at("input").setAttribute("aria-label", `What the classifier sees, called a ${label}`);
  at("perturbed").setAttribute("aria-label", "The same after the step, enlarged");
}

function show(canvas, values) {
  const image = new ImageData(about.size, about.size);
  values.forEach((value, i) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, value)));
    image.data.set([grey, grey, grey, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function open(file) {
  try {
    const picture = await createImageBitmap(file);
    pen.drawImage(picture, 0, 0, drawing.width, drawing.height);
    await judge(pixelsOf(picture, picture.width, picture.height));
  } catch (error) {
    at("verdict").textContent = `${file.name} is not a picture that the browser can read.`;
    at("verdict").className = "";
  }
}

const judgeDrawing = () => judge(pixelsOf(drawing, drawing.width, drawing.height));

function listen() {
  let from = null;
  const place = (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = drawing.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  drawing.addEventListener("pointerdown", (event) => {
    drawing.setPointerCapture(event.pointerId);
    from = place(event);
  });
  drawing.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = place(event);
    pen.strokeStyle = "#fff";
    pen.lineWidth = drawing.width / 9;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    from = to;
  });
  drawing.addEventListener("pointerup", () => {
    if (from !== null) judgeDrawing();
    from = null;
  });
  at("clear").addEventListener("click", clear);
  at("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drawing.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => drawing.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drawing.classList.remove("dropping");
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

start().then(listen, (error) => {
  at("verdict").textContent = `The detector could not be loaded: ${error.message}`;
});
