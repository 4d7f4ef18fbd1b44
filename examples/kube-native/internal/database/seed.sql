INSERT INTO greetings (language, words) VALUES
    ('Danish',     'Hej, Kubernetes'),
    ('English',    'Hello, Kubernetes'),
    ('French',     'Bonjour, Kubernetes'),
    ('German',     'Hallo, Kubernetes'),
    ('Greek',      'Γειά σου, Κυβερνήτης'),
    ('Japanese',   'こんにちは、Kubernetes'),
    ('Portuguese', 'Olá, Kubernetes'),
    ('Swahili',    'Habari, Kubernetes')
ON CONFLICT (language) DO NOTHING;
