// What is done with one account: credit, spending limits, a model's limit, closing it.

import { admin } from './api.js';
import { attempt, confirmDialog, formDialog, toast } from './dialog.js';
import { button } from './dom.js';

/** What may be done with an account. One that is closed may still pay what it owes. */
export function actionsOf(account, path, can, { load, again }) {
  if (!can('operator')) return [];
  const credit = () =>
    formDialog({
      title: 'Add credit',
      submit: 'Book credit',
      intro: 'The first credit of an account without a ceiling makes it prepaid.',
      fields: [
        {
          name: 'usd',
          label: 'USD',
          required: true,
          inputmode: 'decimal',
          hint: 'A decimal such as 20 or 0.50. Below zero it takes credit back.',
        },
        {
          name: 'reference',
          label: 'Reference',
          required: true,
          maxlength: 200,
          hint: 'Your name for this payment. The same one again books nothing.',
        },
        { name: 'note', label: 'Note', type: 'textarea', maxlength: 1000 },
      ],
      send: async values => {
        const { booked } = await admin.send('POST', `${path}/credit`, values);
        toast(booked ? 'The credit is booked.' : 'That reference was booked before: nothing was changed.');
        await load();
      },
    });
  const spending = async () => {
    const balance = await admin.get(`${path}/balance`);
    formDialog({
      title: 'Spending limits',
      submit: 'Set limits',
      fields: [
        {
          name: 'postpaid_usd',
          label: 'May owe at the most, USD',
          value: balance.postpaid?.usd ?? '',
          hint: '0 is prepaid; empty is without a ceiling.',
        },
        {
          name: 'monthly_usd',
          label: 'May spend in a calendar month (UTC), USD',
          value: balance.month.limit?.usd ?? '',
          hint: 'Empty is without a ceiling.',
        },
      ],
      send: async values => {
        await admin.send('PUT', `${path}/spending`, {
          postpaid_usd: values.postpaid_usd || null,
          monthly_usd: values.monthly_usd || null,
        });
        await load();
      },
    });
  };
  const close = () =>
    confirmDialog({
      title: `Close ${account.name}?`,
      submit: 'Close account',
      text: 'Its keys open nothing from then on. It cannot be opened again.',
      send: async () => {
        await admin.send('POST', `${path}/close`);
        again();
      },
    });
  return [
    button('Add credit', 'add-credit', credit),
    account.closed ? null : button('Spending limits', 'spending', () => attempt(spending)),
    can('admin') && !account.closed ? button('Close account', 'close-account', close, { class: 'danger' }) : null,
  ];
}

/** Limits the account on one model. */
export async function limitModel(path, load) {
  const models = await admin.list('models');
  formDialog({
    title: 'Limit a model',
    submit: 'Set limit',
    fields: [
      { name: 'model', label: 'Model', type: 'select', options: models.map(model => model.id), value: models[0]?.id },
      { name: 'limit', label: 'Requests in flight at once', type: 'number', min: 0, required: true },
    ],
    send: async ({ model, limit }) => {
      await admin.send('PUT', `${path}/limits`, { model, concurrent_requests: Number(limit) });
      await load();
    },
  });
}
