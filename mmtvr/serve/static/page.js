// Everything here works without it too, on pages of its own.
'use strict';

const plain = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;

// Going back shows what was asked then, not what was typed afterwards.
window.addEventListener('pageshow', (event) => {
  const [visit] = performance.getEntriesByType('navigation');
  if (!event.persisted && visit?.type !== 'back_forward') return;
  const box = document.getElementById('q');
  box.value = box.defaultValue;
});

// Only one video plays at a time. Media events do not bubble.
document.addEventListener('play', (event) => {
  for (const video of document.querySelectorAll('video')) {
    if (video !== event.target) video.pause();
  }
}, true);

// Browsers take the preview where they cannot decode the file: say so.
document.addEventListener('loadedmetadata', (event) => {
  const note = event.target.parentElement.querySelector('.preview-note');
  if (note) note.hidden = !isPreview(event.target);
}, true);

function isPreview(video) {
  return video.currentSrc.includes('/preview/');
}

// In place of the poster, its video.
function open(card) {
  const link = card.querySelector('.play');
  if (link) link.replaceWith(card.querySelector('template').content.cloneNode(true));
  return card.querySelector('video');
}

function playFrom(video, seconds) {
  const seek = () => {
    // A preview begins shortly before the moment that it was made for.
    const shift = isPreview(video) ? Number(video.dataset.start) - Number(video.dataset.lead) : 0;
    video.currentTime = Math.max(0, seconds - shift);
  };
  if (video.readyState >= 1) seek();
  else video.addEventListener('loadedmetadata', seek, { once: true });
  video.play().catch(() => {});
  video.focus();
}

async function showWhy(link) {
  const dialog = document.getElementById('why');
  const body = dialog.querySelector('.body');
  body.textContent = 'Looking at words and frames …';
  dialog.showModal();
  try {
    const answer = await fetch(link.dataset.why);
    if (!answer.ok) throw new Error(answer.statusText);
    // Made and escaped by the server.
    body.innerHTML = await answer.text();
    // On a phone the best frame may be beside the screen.
    body.querySelector('.best')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  } catch {
    dialog.close();
    location.href = link.href;
  }
}

document.addEventListener('click', (event) => {
  if (event.target.closest('dialog .close') || event.target.nodeName === 'DIALOG') {
    document.getElementById('why').close();
    return;
  }
  const link = event.target.closest('a');
  if (!link || !plain(event)) return;
  const card = link.closest('.card');
  if (link.matches('[data-play]')) {
    event.preventDefault();
    const video = open(card);
    playFrom(video, Number(video.dataset.start));
  } else if (link.matches('[data-seek]')) {
    event.preventDefault();
    playFrom(open(card), Number(link.dataset.seek));
  } else if (link.matches('[data-why]')) {
    event.preventDefault();
    showWhy(link);
  }
});

// With a modifier: bare characters get in the way of speech input and of
// screen readers (WCAG 2.1.4).
document.addEventListener('keydown', (event) => {
  if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  const box = document.getElementById('q');
  box.focus();
  box.select();
});
