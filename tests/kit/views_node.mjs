// A server that says what it was handed: `node views_node.mjs PORT`.

import { createServer } from "node:http";

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

createServer((request, response) => {
  const target = request.url.split("?")[0];
  const pathname = new URL(request.url, "http://upstream").pathname;
  const paths = {
    "Node request.url": target,
    "Node request.url, decoded": decoded(target),
    "Node URL.pathname": pathname,
    "Node URL.pathname, decoded": decoded(pathname),
  };
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ paths, headers: request.headers }));
}).listen(Number(process.argv[2]), "127.0.0.1");
