// Pictures as numbers, (3, 32, 32) in [-1, 1] row by row, to the screen, to a file and back.

export const SIDE = 32;
const PIXELS = SIDE * SIDE;

/** Put a picture on a canvas of 32 x 32; the page's style makes it large, each pixel a square. */
export function show(canvas: HTMLCanvasElement, picture: Float32Array): void {
  [canvas.width, canvas.height] = [SIDE, SIDE];
  canvas.getContext("2d")!.putImageData(to_image_data(picture), 0, 0);
}

function to_image_data(picture: Float32Array): ImageData {
  const data = new ImageData(SIDE, SIDE);
  for (let i = 0; i < PIXELS; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = Math.round((picture[c * PIXELS + i] + 1) * 127.5);
    data.data[4 * i + 3] = 255;
  }
  return data;
}

/** One channel of latents, 8 x 8, as grey levels: -3 is black, 3 is white. */
export function show_channel(canvas: HTMLCanvasElement, latents: Float32Array, channel: number): void {
  [canvas.width, canvas.height] = [8, 8];
  const data = new ImageData(8, 8);
  for (let i = 0; i < 64; i++) {
    data.data.fill(((latents[64 * channel + i] + 3) / 6) * 255, 4 * i, 4 * i + 3);
    data.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")!.putImageData(data, 0, 0);
}

/** The pictures of a batch, one by one. */
export function each(pictures: Float32Array): Float32Array[] {
  return Array.from({ length: pictures.length / (3 * PIXELS) }, (_, i) =>
    pictures.slice(i * 3 * PIXELS, (i + 1) * 3 * PIXELS),
  );
}

/** A PNG of pictures side by side, each enlarged to `size`, its pixels to squares. */
export async function to_png(pictures: Float32Array[], size: number): Promise<Blob> {
  const columns = Math.ceil(Math.sqrt(pictures.length));
  const rows = Math.ceil(pictures.length / columns);
  const sheet = canvas_of(columns * size, rows * size);
  const pen = sheet.getContext("2d")!;
  pen.imageSmoothingEnabled = false;
  const small = canvas_of(SIDE, SIDE);
  pictures.forEach((picture, i) => {
    show(small, picture);
    pen.drawImage(small, (i % columns) * size, Math.floor(i / columns) * size, size, size);
  });
  return new Promise((resolve, reject) =>
    sheet.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture cannot be saved."))), "image/png"),
  );
}

export function canvas_of(width: number, height: number): HTMLCanvasElement {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** A picture file, whole and in the middle of a square of `size`, padded with the colour of its corner. */
export async function open_picture(file: Blob, size: number): Promise<HTMLCanvasElement> {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error("This file is not a picture that this browser can read.");
  });
  const square = canvas_of(size, size);
  const pen = square.getContext("2d")!;
  const scale = size / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  pen.fillStyle = "white"; // behind clear parts
  pen.fillRect(0, 0, size, size);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, 1, 1, 0, 0, size, size);
  pen.fillStyle = "white";
  const [left, top] = [Math.round((size - width) / 2), Math.round((size - height) / 2)];
  pen.drawImage(picture, left, top, width, height);
  picture.close();
  return square;
}

/** A square canvas as a picture, each pixel the mean of what it covers. */
export function from_canvas(canvas: HTMLCanvasElement): Float32Array {
  const picture = new Float32Array(3 * PIXELS);
  means(canvas).forEach((level, i) => {
    if (i % 4 < 3) picture[(i % 4) * PIXELS + (i >> 2)] = level / 127.5 - 1;
  });
  return picture;
}

/** Where something is painted on a clear canvas: (32, 32) of 0 and 1. */
export function mask_of(canvas: HTMLCanvasElement): Float32Array {
  const painted = means(canvas);
  return Float32Array.from({ length: PIXELS }, (_, i) => (painted[4 * i + 3] > 0 ? 1 : 0));
}

/** The mean RGBA, 0 to 255, of each of the 32 x 32 parts of a canvas whose side is a multiple of 32. */
function means(canvas: HTMLCanvasElement): Float32Array {
  const [side, cell] = [canvas.width, canvas.width / SIDE];
  const { data } = canvas.getContext("2d", { willReadFrequently: true })!.getImageData(0, 0, side, side);
  const sums = new Float32Array(4 * PIXELS);
  for (let i = 0; i < data.length; i++) {
    const [x, y] = [(i >> 2) % side, Math.floor((i >> 2) / side)];
    sums[4 * (Math.floor(y / cell) * SIDE + Math.floor(x / cell)) + (i % 4)] += data[i] / cell ** 2;
  }
  return sums;
}

/** Offer a file to be saved. */
export function save(blob: Blob, name: string): void {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
