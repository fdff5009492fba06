// Questions to the node: parameters go in, what its API answers comes out. A token is asked for when the
// node wants one, and goes along from then on.

import { token, wantToken } from "./token.js";

/** Why the node did not answer. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A response that is a success; a request that lacks a token is sent again once there is one. */
export async function request(path, parameters = {}, options = {}) {
  for (;;) {
    const used = token();
    const response = await fetch(address(path, parameters), {
      ...options,
      cache: "no-store",
      credentials: "omit",
      headers: { ...options.headers, ...(used && { Authorization: `Bearer ${used}` }) },
    });
    if (response.ok) return response;
    const message = await reason(response);
    if (response.status !== 401) throw new Problem(response.status, message);
    await wantToken(used, message);
  }
}

export async function ask(path, parameters, options) {
  const response = await request(path, parameters, options);
  return response.json();
}

export const send = (path, body) =>
  ask(path, {}, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

function address(path, parameters) {
  const known = Object.entries(parameters).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const query = new URLSearchParams(known).toString();
  return query ? `${path}?${query}` : path;
}

async function reason(response) {
  try {
    return (await response.json()).error ?? response.statusText;
  } catch {
    return `the node answered ${response.status}`;
  }
}

/** What went wrong, for people. */
export const inWords = (error) =>
  error instanceof Problem ? error.message : "The node cannot be reached at the moment.";
