// What a threshold does, from the histograms of a calibration: shares of strangers that would match, and of pairs of
// one person that would not. Within a bin of one hundredth scores are taken to lie evenly.

const BINS = 200;
const full = ({ first, counts }) => Array.from({ length: BINS }, (_, bin) => counts[bin - first] ?? 0);

export class Rates {
  // Scale: as /v1/calibration gives it, of one pair.
  constructor(scale) {
    this.scale = scale;
    this.genuine = full(scale.genuine);
    this.impostor = full(scale.impostor);
    this.below = Object.fromEntries(["genuine", "impostor"].map((kind) => {
      let sum = 0;
      return [kind, [0, ...this[kind].map((count) => (sum += count))]];
    }));
  }

  count(kind) {
    return this.below[kind].at(-1);
  }

  under(kind, score) {
    const at = Math.min(BINS, Math.max(0, (score + 1) * (BINS / 2)));
    const bin = Math.min(BINS - 1, Math.floor(at));
    return this.below[kind][bin] + (at - bin) * this[kind][bin];
  }

  falseMatch(score) {
    return 1 - this.under("impostor", score) / this.count("impostor");
  }

  falseNonMatch(score) {
    return this.under("genuine", score) / this.count("genuine");
  }

  // How probable a pair of exactly this score is one person; no surer than the pairs behind it can show.
  probability(score, prior, { genuine_count, impostor_count }) {
    const evidence = this.scale.slope * score + this.scale.offset;
    const held = Math.min(Math.log(Math.max(1, impostor_count)), Math.max(-Math.log(Math.max(1, genuine_count)), evidence));
    return 1 / (1 + Math.exp(-(held + Math.log(prior / (1 - prior)))));
  }

  // From where to where anything was seen.
  get range() {
    const seen = this.genuine.map((count, bin) => count + this.impostor[bin]);
    const first = seen.findIndex((count) => count > 0);
    const last = BINS - 1 - [...seen].reverse().findIndex((count) => count > 0);
    return [(first - BINS / 2) / (BINS / 2), (last + 1 - BINS / 2) / (BINS / 2)];
  }
}
