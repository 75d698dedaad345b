// Similarities and principal components of a few dozen vectors.

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** cosines is the matrix of the cosines of all pairs; 0 where a vector is zero. */
export function cosines(vectors) {
  const norms = vectors.map((v) => Math.sqrt(dot(v, v)));
  return vectors.map((a, i) => vectors.map((b, j) => {
    const n = norms[i] * norms[j];
    return n === 0 ? 0 : Math.max(-1, Math.min(1, dot(a, b) / n));
  }));
}

/**
 * principal projects vectors on their first two principal components: [[x, y]], and the share of the variance that these cover.
 * There are fewer vectors than dimensions, so it takes the eigenvectors of the centred Gram matrix, by power iteration.
 */
export function principal(vectors) {
  const n = vectors.length;
  const gram = vectors.map((a) => vectors.map((b) => dot(a, b)));
  const rows = gram.map((row) => row.reduce((s, x) => s + x, 0) / n);
  const all = rows.reduce((s, x) => s + x, 0) / n;
  const centred = gram.map((row, i) => row.map((x, j) => x - rows[i] - rows[j] + all));
  const variance = centred.reduce((s, row, i) => s + row[i], 0);
  const axes = [];
  for (let k = 0; k < 2; k++) {
    let v = Array.from({ length: n }, (_, i) => Math.sin(i * (k + 1.7) + 1)); // the same picture for the same texts
    let value = 0;
    for (let step = 0; step < 400; step++) {
      let w = centred.map((row) => dot(row, v));
      for (const a of axes) {
        const along = dot(w, a.v);
        w = w.map((x, i) => x - along * a.v[i]);
      }
      const length = Math.sqrt(dot(w, w));
      if (length < 1e-9) {
        value = 0;
        v = v.map(() => 0);
        break;
      }
      w = w.map((x) => x / length);
      const moved = Math.max(...w.map((x, i) => Math.abs(x - v[i])));
      v = w;
      value = length;
      if (moved < 1e-7) break;
    }
    axes.push({ v, value });
  }
  const points = vectors.map((_, i) => axes.map((a) => a.v[i] * Math.sqrt(a.value)));
  const covered = variance < 1e-9 ? 1 : (axes[0].value + axes[1].value) / variance;
  return { points, covered: Math.min(1, covered) };
}
