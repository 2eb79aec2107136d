// Takes a picture of every page of the gallery, in light and dark, on a phone and on a desk, and
// says where a page is wider than its window.
//
//   cargo run -p broker --example pages -- --listen 127.0.0.1:8099 &
//   npm install --no-save playwright-core
//   node screenshots.mjs http://127.0.0.1:8099 target/pages [NAME…]
//
// CHROMIUM names the browser; /usr/bin/chromium otherwise.

import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";

const [gallery, folder, ...only] = process.argv.slice(2);
if (!gallery || !folder) {
  console.error("usage: node screenshots.mjs GALLERY FOLDER [NAME…]");
  process.exit(64);
}

// 320 CSS pixels are what WCAG 2.2 asks for (1.4.10, reflow); the others are a phone and a desk.
const widths = [320, 390, 1280];
const pictured = [390, 1280];

const names = (await (await fetch(`${gallery}/`)).text()).split("\n");
const chosen = only.length ? names.filter((name) => only.includes(name)) : names;
await mkdir(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
});
let problems = 0;
const complain = (words) => {
  problems += 1;
  console.error(words);
};

for (const colorScheme of ["light", "dark"]) {
  const page = await browser.newPage({ colorScheme });
  // What the policy forbids, or the server does not have, is a mistake of the page.
  page.on("console", (message) => message.type() === "error" && complain(message.text()));
  for (const name of chosen) {
    for (const width of widths) {
      await page.setViewportSize({ width, height: 800 });
      await page.goto(`${gallery}/${name}`);
      await page.evaluate(() => {
        for (const closed of document.querySelectorAll("details")) closed.open = false;
      });
      const picture = (suffix) =>
        pictured.includes(width) &&
        page.screenshot({
          path: `${folder}/${name}-${width}-${colorScheme}${suffix}.png`,
          fullPage: true,
        });
      const measure = async (what) => {
        const inner = await page.evaluate(() => document.documentElement.scrollWidth);
        if (inner > width) complain(`${name} ${what}: ${inner} px wide in a window of ${width}`);
      };
      await measure("closed");
      await picture("");
      const opened = await page.evaluate(() => {
        const all = [...document.querySelectorAll("details")];
        for (const one of all) one.open = true;
        return all.length;
      });
      if (opened) {
        await measure("open");
        await picture("-open");
      }
    }
  }
  await page.close();
}
await browser.close();
console.log(`${chosen.length} pages, ${problems} problems`);
process.exit(problems ? 1 : 0);
