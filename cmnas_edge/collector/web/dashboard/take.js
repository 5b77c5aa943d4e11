// Taking sightings away as a table (CSV): for privacy officers, with a reason, and noted in the audit log.

import { query } from "./ask.js";
import { reasonFor, reasonIn } from "./matches.js";
import { may } from "./shell.js";
import * as words from "./words.js";

// Fill a form that takes away what fits. Fits: called when it is sent, as /v1/sightings.csv takes it.
export function offer(form, text, fits) {
  form.hidden = !may("export");
  if (form.hidden) return;
  const button = words.make("button", "act", text);
  form.replaceChildren(...form.querySelectorAll(":scope > .row"), ...reasonFor("export"), button);
  form.onsubmit = (event) => {
    event.preventDefault();
    location.assign(`/v1/sightings.csv${query({ ...fits(), reason: reasonIn(form) })}`);
  };
}
