// Asking the collector. What it refuses is an error whose message is its own sentence, fit to be shown.

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

// Body: sent as JSON when it is an object, as it is when it is text.
export async function ask(path, body, headers = {}) {
  const answer = await fetch(path, body === undefined ? { headers, cache: "no-store" } : {
    method: "POST", headers: { "Content-Type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  if (answer.status === 401) {
    location.assign("/log-in");
    return new Promise(() => {});   // the page is about to go
  }
  const said = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, said.error ?? answer.statusText);
  return said;
}

// A query string of what is not null, not empty and not false.
export function query(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}
