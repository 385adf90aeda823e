// Light or dark. It runs before anything is drawn, so that the page does not flash in the other colours.

const THEME_KEY = 'farebox-theme';

/** `light`, `dark`, or `auto`: as the system has it. */
function theme() {
  return localStorage.getItem(THEME_KEY) ?? 'auto';
}

function applyTheme(name) {
  if (name === 'auto') {
    localStorage.removeItem(THEME_KEY);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME_KEY, name);
    document.documentElement.dataset.theme = name;
  }
}

applyTheme(theme());
