// The noise that torch draws: Mersenne Twister (Matsumoto & Nishimura 1998) and Box-Muller, sixteen numbers at a time,
// so that a seed gives the same picture here and in Python.

/** `count` numbers from N(0, 1) in the order of `torch.randn` on a CPU; `count` must be a multiple of 16. */
export function randn(seed: number, count: number): Float32Array {
  const random = mersenne_twister(seed);
  const noise = Float32Array.from({ length: count }, () => (random() & 0xffffff) / 2 ** 24);
  for (let at = 0; at < count; at += 16) {
    for (let i = at; i < at + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - noise[i]));
      const angle = 2 * Math.PI * noise[i + 8];
      noise[i] = radius * Math.cos(angle);
      noise[i + 8] = radius * Math.sin(angle);
    }
  }
  return noise;
}

const SIZE = 624;
const MIDDLE = 397;

/** A function that returns the next 32 random bits. */
function mersenne_twister(seed: number): () => number {
  const state = new Uint32Array(SIZE);
  state[0] = seed;
  for (let i = 1; i < SIZE; i++) {
    state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }
  let next = SIZE;
  return () => {
    if (next === SIZE) {
      twist(state);
      next = 0;
    }
    let bits = state[next++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < SIZE; i++) {
    const bits = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
    state[i] = state[(i + MIDDLE) % SIZE] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
  }
}
