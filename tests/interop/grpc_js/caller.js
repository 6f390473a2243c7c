// Makes the calls that a test asks for. What to do comes as one JSON object a line, and what came of it leaves so.
//
// The argument is JSON as well: the folder of packages, the address, the folder of proto files and the names of those to
// read, channel options, and with TLS the paths of a CA and of a certificate and its key.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const settings = JSON.parse(process.argv[2]);
const installed = createRequire(settings.packages);
const grpc = installed("@grpc/grpc-js");
const loader = installed("@grpc/proto-loader");

function credentials({ ca, certificate, key }) {
  if (!ca) return grpc.credentials.createInsecure();
  const shown = certificate ? [fs.readFileSync(key), fs.readFileSync(certificate)] : [];
  return grpc.credentials.createSsl(fs.readFileSync(ca), ...shown);
}

// path -> { requestStream, responseStream, requestSerialize, responseDeserialize }; bytes are base64 outside.
function methods() {
  const options = { includeDirs: [settings.folder], keepCase: true, bytes: String, longs: Number, enums: String };
  const loaded = loader.loadSync(settings.files, options);
  const services = Object.values(loaded).filter((one) => !("format" in one));
  return new Map(services.flatMap((service) => Object.values(service).map((method) => [method.path, method])));
}

// Any other path takes and gives bytes, so that one can be called which no file names.
const UNKNOWN = {
  requestStream: false,
  responseStream: false,
  requestSerialize: (text) => Buffer.from(text, "base64"),
  responseDeserialize: (bytes) => bytes.toString("base64"),
};

const known = methods();
const client = new grpc.Client(settings.address, credentials(settings), settings.options);
const calls = new Map();

function tell(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

// Values of metadata as the test wrote them: text, or a list of bytes.
function metadataOf(pairs) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of pairs) metadata.add(name, Array.isArray(value) ? Buffer.from(value) : value);
  return metadata;
}

function pairsOf(metadata) {
  const all = Object.entries(metadata.toJSON());
  return all.flatMap(([name, values]) => values.map((value) => [name, Buffer.isBuffer(value) ? [...value] : value]));
}

function begin({ id, path, message, metadata, deadline_s }) {
  const method = known.get(path) ?? UNKNOWN;
  const codec = [path, method.requestSerialize, method.responseDeserialize];
  const options = [metadataOf(metadata), { deadline: Date.now() + deadline_s * 1000 }];
  const take = (answer) => tell({ id, message: answer });
  let call;
  if (method.requestStream) {
    call = client.makeBidiStreamRequest(...codec, ...options);
  } else if (method.responseStream) {
    call = client.makeServerStreamRequest(...codec, message, ...options);
  } else {
    call = client.makeUnaryRequest(...codec, message, ...options, (error, answer) => error || take(answer));
  }
  if (method.responseStream) call.on("data", take).on("error", () => {}); // the status tells it too
  call.on("status", (status) => {
    tell({ id, code: status.code, text: status.details, trailers: pairsOf(status.metadata) });
    calls.delete(id);
  });
  calls.set(id, call);
}

const doing = {
  begin,
  write: ({ id, message }) => calls.get(id).write(message),
  end: ({ id }) => calls.get(id).end(),
  cancel: ({ id }) => calls.get(id)?.cancel(),
};

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const wish = JSON.parse(line);
    doing[wish.do](wish);
  })
  .on("close", () => client.close());
