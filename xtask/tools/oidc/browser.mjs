// The code flow in a real browser: logs in on the provider's own pages, waits until the page says
// what became of its movie, prints that and takes a picture.
//
//   node browser.mjs PAGE PICTURE
import { createRequire } from 'node:module';

// The packages lie where `cargo xtask` installs them, not beside this file: NODE_PATH says where,
// which `require` looks at and `import` does not.
const { chromium } = createRequire(import.meta.url)('playwright-core');

const [address, picture] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  page.on('console', (line) => console.error(`the page says: ${line.text()}`));
  await page.goto(address);
  await page.fill('input[name=login]', 'alice');
  await page.fill('input[name=password]', 'any: this provider asks nobody');
  await page.click('button[type=submit]');
  await page.click('button[type=submit]:has-text("Continue")');
  const said = page.locator('#state', { hasText: /stored|failed/ });
  await said.waitFor();
  await page.screenshot({ path: picture, fullPage: true });
  console.log(await said.textContent());
  console.log(await page.locator('#answer').textContent());
} finally {
  await browser.close();
}
